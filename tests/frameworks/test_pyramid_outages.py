"""Pyramid: bodies that are made while they are sent, and outages."""

import pytest
from webob import Response as BaseResponse
from zope.interface import implementer

from coatcheck import RequestOver, StoreError, StoreUnavailable
from coatcheck.testing import cookies_for
from tests.frameworks.pyramid_apps import FileIter, FileResponse, IResponse, Response, Site, httpexceptions

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@pytest.fixture
def site(sessions):
    return Site(sessions)


def add(name="a", value=1):
    return lambda request: request.session.update({name: value})


def fields(site):
    return eval(site.get(lambda request: dict(request.session)).text)


def broken(request):
    request.session["a"] = "unwanted"
    raise ZeroDivisionError


def tween(change):
    """A tween of the application that calls `change` after the view."""

    def factory(handler, registry):
        def around(request):
            response = handler(request)
            change(request)
            return response

        return around

    return factory


def fields_of(request):
    return dict(request.session)


# Bodies that are made while they are sent


def test_what_a_stream_changes_is_stored_when_it_ends(site):
    def view(request):
        session = request.session
        session["before"] = 1

        def chunks():
            yield b"one"
            session["during"] = 1

        response = Response(app_iter=chunks(), content_type="text/plain")
        response.content_length = 3
        return response

    response = site.get(view)
    assert response.headers["Content-Length"] == "3"
    assert response.body == b"one"
    assert fields(site) == {"before": 1, "during": 1}


def test_a_stream_that_breaks_off_or_is_not_read_stores_no_more_or_what_it_did(site, sessions):
    closed = []

    class Chunks:
        def __init__(self, session, end):
            self.session, self.end = session, end

        def __iter__(self):
            yield b"one"
            self.session["a"] = "during"
            if self.end == "breaks":
                raise ZeroDivisionError
            yield b"two"

        def close(self):
            closed.append(self.end)

    def view(request):
        return Response(app_iter=Chunks(request.session, request.params["end"]), content_type="text/plain")

    site.get(add())
    with pytest.raises(ZeroDivisionError):
        site.get(view, "?end=breaks").body  # noqa: B018 - it reads
    assert fields(site) == {"a": 1}
    chunks = iter((response := site.get(view, "?end=leaves")).app_iter)
    assert [next(chunks), next(chunks)] == [b"one", b"two"]
    response.app_iter.close()
    assert fields(site) == {"a": "during"}
    assert closed == ["breaks", "leaves"]


def test_a_file_is_sent_as_it_is(site, tmp_path):
    file = tmp_path / "file.txt"
    file.write_bytes(b"x" * 300_000)

    def view(request):
        request.session["a"] = 1
        return FileResponse(str(file), request=request)

    response = site.get(view)
    assert type(response.app_iter) is FileIter
    assert len(response.body) == 300_000
    sent = []

    class Wrapper:
        def __init__(self, body, size):
            body.close()
            sent.append(self)

        def __iter__(self):
            return iter(())

    assert site.get(view, **{"wsgi.file_wrapper": Wrapper}).app_iter is sent[0]

    def by_hand(request):
        request.session["a"] = 2
        return Response(app_iter=FileIter(file.open("rb")), content_type="text/plain")

    response = site.get(by_hand, **{"wsgi.file_wrapper": Wrapper})
    assert type(response.app_iter) is FileIter
    assert len(response.body) == 300_000


# Outages


@pytest.mark.promise("20")
def test_a_view_that_lets_an_outage_through_is_answered_by_503(site, store, sessions):
    site.cookies.update(cookies_for(sessions, {"a": 1}))
    store.fail("load", error=DOWN)
    for view in (fields_of, lambda request: fields_of(request) or broken(request)):
        response = site.get(view)
        assert (response.status_int, response.headers.getall("Set-Cookie")) == (503, [])
        assert response.headers["Retry-After"]
        assert "Please try again" in response.text
    store.recover()
    store.fail("write", error=DOWN)
    response = site.get(add("b"))
    assert (response.status_int, "Set-Cookie" in response.headers) == (503, False)
    store.recover()
    assert fields(site) == {"a": 1}


@pytest.mark.promise("20")
def test_a_catch_all_exception_view_makes_no_500_of_an_outage(site, store, sessions):
    site.config.add_exception_view(lambda request: Response("sorry", status=500), context=Exception)
    site.cookies.update(cookies_for(sessions, {"a": 1}))
    store.fail("load", error=DOWN)
    assert site.get(fields_of).status_int == 503


@pytest.mark.promise("20")
def test_an_exception_view_for_outages_shows_a_page_of_its_own(site, store, sessions):
    # A page may use the session, as its layout does to show messages: that is then empty.
    site.config.add_exception_view(
        lambda error, request: Response(
            f"back soon {request.session.pop_flash()}", status=503, retry_after=error.retry_after
        ),
        context=StoreError,
    )
    site.cookies.update(cookies_for(sessions, {"a": 1}))
    store.fail("load", error=DOWN)
    response = site.get(fields_of)
    assert (response.status_int, response.text) == (503, "back soon []")


@pytest.mark.promise("20")
def test_a_stream_that_cant_be_stored_at_its_end_breaks_off(site, store):
    def view(request):
        session = request.session

        def chunks():
            yield b"one"
            session["a"] = 1

        request.session["a"] = 0
        return Response(app_iter=chunks(), content_type="text/plain")

    response = site.get(view)
    chunks = iter(response.app_iter)
    assert next(chunks) == b"one"
    store.fail("write", error=DOWN)
    with pytest.raises(StoreUnavailable):
        next(chunks)


@pytest.mark.promise("20")
def test_the_body_that_a_503_replaces_is_closed(site, store):
    closed = []

    class Chunks(list):
        def close(self):
            closed.append(True)

    def view(request):
        request.session["a"] = 1
        return Response(app_iter=Chunks([b"one"]), content_type="text/plain")

    store.fail("write", error=DOWN)
    assert site.get(view).status_int == 503
    assert closed == [True]


@pytest.mark.promise("20")
def test_after_a_503_the_request_is_over(site, store):
    sessions_seen = []

    def view(request):
        sessions_seen.append(request.session)
        request.session["a"] = 1

    store.fail("write", error=DOWN)
    assert site.get(view).status_int == 503
    with pytest.raises(RequestOver):
        sessions_seen[0]["a"] = 2


@pytest.mark.promise("20")
def test_an_outage_in_a_response_callback_is_a_503_and_the_other_callbacks_are_called(site, store):
    called = []

    def view(request):
        request.add_response_callback(lambda request, response: request.session.get("a"))
        request.add_response_callback(lambda request, response: called.append(response.status_code))

    site.get(add())
    store.fail("load", error=DOWN)
    assert site.get(view).status_code == 503
    assert called == [503]


# Responses that a view returns to everybody


@pytest.mark.parametrize("raised", [False, True])
def test_a_response_that_everybody_gets_keeps_no_cookie_and_no_outage_of_one_visitor(site, store, raised):
    everybodys = httpexceptions.HTTPFound("/") if raised else Response("hello")

    def view(request):
        if request.query_string:
            request.session.sign_in("ada")
        if raised:
            raise everybodys
        return everybodys

    assert site.get(view, "?ada").headers.getall("Set-Cookie")
    store.fail("write", error=DOWN)
    assert site.get(view, "?ada").status_code == 503
    site.cookies.clear()
    response = site.get(view)
    assert (response.status_code, response.headers.getall("Set-Cookie")) == (302 if raised else 200, [])


def test_a_response_of_another_class_than_pyramids_is_sent_as_it_is(site):
    @implementer(IResponse)
    class Own(BaseResponse):
        def __new__(cls, text):
            return super().__new__(cls)

    def view(request):
        request.session["a"] = 1
        return Own("mine")

    response = site.get(view)
    assert response.text == "mine"
    assert fields(site) == {"a": 1}
