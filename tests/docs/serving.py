"""Applications on ports of this machine, for the tests of pages that say what a browser does."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import uvicorn
from werkzeug.serving import WSGIRequestHandler, make_server


class _Silent(WSGIRequestHandler):
    def log(self, *_):
        pass


@contextmanager
def wsgi_port(app):
    """The port of a WSGI application."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent)
    with _in_a_thread(server.serve_forever, server.shutdown):
        yield server.server_port
    server.server_close()


@contextmanager
def asgi_port(app):
    """The port of an ASGI application. It listens before the server runs, so nobody must wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))

        def stop():
            server.should_exit = True

        with _in_a_thread(lambda: server.run(sockets=[listener]), stop):
            yield listener.getsockname()[1]


@contextmanager
def _in_a_thread(run, stop):
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()
