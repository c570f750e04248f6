"""The application that test_faults_fork starts under gunicorn. It uses its sessions before the workers are forked."""

import os

from coatcheck import Sessions
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.stores.redis import from_url
from tests.behaviours import perform
from tests.behaviours.site import SECRET

sessions = Sessions(
    from_url(os.environ["REDIS_URL"], prefix=os.environ["REDIS_PREFIX"]), secret=SECRET, insecure_http=True
)
sessions.ping()  # a connection is open when the fork comes


def handler(environ, start_response):
    if environ["PATH_INFO"] == "/pid":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
    answer = perform(environ["QUERY_STRING"], environ["coatcheck.session"], sessions)
    start_response(f"{answer.status} OK", answer.headers)
    return answer.body


application = SessionMiddleware(handler, sessions)
