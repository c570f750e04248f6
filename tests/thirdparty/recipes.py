"""The applications of the page on other frameworks, each on a real server: ``python -m tests.thirdparty.recipes html 8000``.

`html` and so on are their names on the page.
"""

import os
import sys
from wsgiref.simple_server import make_server

import uvicorn

from tests.docs.pages import DOCS, SECRET, parse

ON_WSGI = ("shop_application", "api_application")


def application(name):
    """The application, as the blocks of the page up to its own have made it."""
    os.environ["SESSION_SECRET"] = SECRET
    document = parse(DOCS / "how-to" / "other-frameworks.md")
    for example in document.examples():
        example.evaluate()
        if name in document.namespace:
            break
    return document.namespace[name]


if __name__ == "__main__":
    name, port = sys.argv[1], int(sys.argv[2])
    if name in ON_WSGI:
        make_server("127.0.0.1", port, application(name)).serve_forever()
    else:
        uvicorn.run(application(name), host="127.0.0.1", port=port)
