"""The bodies of WSGI: closed once, passed on as they are, hung up on."""

import io
from functools import partial
from wsgiref.util import FileWrapper

import pytest

from coatcheck import NotStorable
from tests.frameworks.wsgi_server import DOWN, ENVIRON_KEY, HEADERS, Server


class Body:
    """A body that can be closed."""

    def __init__(self, chunks, *, then=None, at_close=None):
        self.chunks = iter(chunks)
        self.then = then
        self.at_close = at_close
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.chunks)
        except StopIteration:
            if self.then is not None:
                raise self.then from None
            raise

    def close(self):
        self.closed += 1
        if self.at_close is not None:
            self.at_close()


def answering(body):
    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        start_response("200 OK", HEADERS)
        return body

    return app


def test_the_apps_body_is_closed_once_however_the_request_ends():
    for chunks, then, failing in (
        ([b"x"], None, False),
        ([], None, False),
        ([b"x"], ZeroDivisionError(), False),
        ([], ZeroDivisionError(), False),
        ([b"x"], None, True),
    ):
        body = Body(chunks, then=then)
        server = Server(answering(body))
        if failing:
            server.store.fail("write", error=DOWN)
        if then is None:
            server.get()
        else:
            with pytest.raises(ZeroDivisionError):
                server.get()
        assert body.closed == 1


def test_what_closing_the_body_changes_is_stored_too():
    sessions = []

    def app(environ, start_response):
        session = environ[ENVIRON_KEY]
        session["a"] = 1
        sessions.append(session)
        start_response("200 OK", HEADERS)
        return Body([b"x"], at_close=lambda: session.update(b=2))

    server = Server(app)
    server.get()
    assert server.value("b") == "2"


@pytest.mark.promise("F-20")
def test_a_client_that_hangs_up_leaves_stored_what_was_done():
    def app(environ, start_response):
        session = environ[ENVIRON_KEY]
        session["a"] = 1
        start_response("200 OK", HEADERS)
        yield b"x"
        session["b"] = 2
        yield b"y"
        session["c"] = 3

    server = Server(app)
    body = server.app(server.environ(), server.start_response)
    assert next(body) == b"x"
    assert next(body) == b"y"
    body.close()
    body.close()
    assert [server.value(name) for name in "abc"] == ["1", "2", "None"]


@pytest.mark.promise("F-20")
def test_an_error_while_closing_the_body_goes_on_and_the_session_is_stored():
    def app(environ, start_response):
        session = environ[ENVIRON_KEY]
        session["a"] = 1
        start_response("200 OK", HEADERS)

        def oops():
            session["a"] = 2
            raise ZeroDivisionError

        return Body([b"x"], at_close=oops)

    server = Server(app)
    with pytest.raises(ZeroDivisionError):
        server.get()
    assert server.value("a") == "2"


@pytest.mark.promise("F-20")
def test_a_client_that_is_gone_before_the_body_begins_leaves_stored_what_was_done():
    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = environ[ENVIRON_KEY].get("a", 0) + 1

        def body():
            start_response("200 OK", HEADERS)
            yield b"x"

        return body()

    server = Server(app)
    server.get()
    server.app(server.environ(), server.start_response).close()
    assert server.value("a") == "2"


@pytest.mark.parametrize("value", ["fine", "lost", object()])
def test_a_file_wrapper_reaches_the_server_as_it_is_or_is_closed(value):
    wrapped = []

    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = [1]
        environ[ENVIRON_KEY]["a"].append(value)
        start_response("200 OK", HEADERS)
        wrapped.append(environ["wsgi.file_wrapper"](io.BytesIO(b"data")))
        return wrapped[0]

    server = Server(app)
    if value == "lost":
        server.store.fail("write", error=DOWN)
    environ = server.environ(**{"wsgi.file_wrapper": FileWrapper})
    if isinstance(value, str):
        result = server.app(environ, server.start_response)
        assert (result is wrapped[0]) is (value == "fine")
        assert server.status.startswith("200" if value == "fine" else "503")
    else:
        with pytest.raises(NotStorable):
            server.app(environ, server.start_response)
    assert wrapped[0].filelike.closed is (value != "fine")


def test_a_file_wrapper_that_is_no_class_works_too():
    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        start_response("200 OK", HEADERS)
        return environ["wsgi.file_wrapper"](io.BytesIO(b"data"))

    server = Server(app)
    assert server.get(**{"wsgi.file_wrapper": partial(FileWrapper)}) == b"data"
    assert server.value("a") == "1"
