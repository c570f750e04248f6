"""The application of `test_gevent`: one path that needs the store, and one that does not."""

import os

from coatcheck import Sessions
from coatcheck.frameworks.wsgi import SessionMiddleware

SECRET = "5bqN0vYdF2ZrU8mKxWc7tLhE3pJ9sGaQ"
sessions = Sessions.from_url(os.environ["STORE"], secret=SECRET, insecure_http=True)


def plain(environ, start_response):
    if environ["PATH_INFO"] == "/store":
        environ["coatcheck.session"]["a"] = 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"body"]


application = SessionMiddleware(plain, sessions)
