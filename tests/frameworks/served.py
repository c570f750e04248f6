"""The application that test_servers starts under real servers. Run as a program, it serves itself with waitress."""

import os
import sys

from coatcheck import Sessions
from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.behaviours import perform
from tests.behaviours.site import PATIENT

CHUNK = b"x" * 65_536

sessions = Sessions.from_url(f"sqlite:///{os.environ['SESSIONS_DB']}", insecure_http=True, **PATIENT)


def handler(environ, start_response):
    session = environ["coatcheck.session"]
    if environ["PATH_INFO"] == "/long":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return long_body(session, environ["QUERY_STRING"])
    answer = perform(environ["QUERY_STRING"], session, sessions)
    start_response(f"{answer.status} OK", answer.headers)
    return answer.body


def long_body(session, field):
    """More than any buffer on the way takes, so that who sends it learns that nobody reads it."""
    for number in range(2_000):
        session[field] = number
        yield CHUNK


application = SessionMiddleware(handler, sessions)

if __name__ == "__main__":
    import waitress

    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=8)
    print(f"Listening at: http://127.0.0.1:{server.effective_port}", file=sys.stderr, flush=True)
    server.run()
