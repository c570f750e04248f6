"""Real servers for the programs of these tests: uvicorn in a thread, and gunicorn as a process."""

import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection

import uvicorn

from tests.servers.process import HOST, Server, free_port, until

ROOT = __file__.rpartition("/tests/")[0]


@contextmanager
def uvicorn_with(app, **options):
    """The address of a uvicorn that serves `app`, an object of this process."""
    config = uvicorn.Config(app, host=HOST, port=free_port(), log_config=None, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive(), "uvicorn is ready")
        assert server.started, "uvicorn ended at once"
        yield f"http://{HOST}:{config.port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def gunicorn_with(name, directory, env, *options):
    """The address of a gunicorn that serves the application `name`, ``module:name``, in processes of its own."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--chdir", ROOT, "--bind", f"{HOST}:{port}", *options, name]
    with Server(command, directory=directory, ready=lambda: _answers(port), env=env, name="gunicorn"):
        yield f"http://{HOST}:{port}"


def _answers(port):
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    finally:
        connection.close()
