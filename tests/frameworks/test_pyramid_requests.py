"""Pyramid's requests: tweens, callbacks, exceptions, subrequests and retries."""

import pytest

from coatcheck import StoreUnavailable, TooLarge
from tests.frameworks.pyramid_apps import NewResponse, Request, Response, Site, httpexceptions, prepare

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


# Who may still change the session


def test_tweens_and_callbacks_may_change_the_session_after_the_view(site, monkeypatch):
    import tests.frameworks.pyramid_apps as apps

    monkeypatch.setattr(apps, "our_tween", tween(add("tween")), raising=False)
    site.config.add_tween("tests.frameworks.pyramid_apps.our_tween")

    def view(request):
        request.add_response_callback(lambda request, response: add("callback")(request))
        request.session["view"] = 1

    response = site.get(view)
    assert len(response.headers.getall("Set-Cookie")) == 1
    assert set(fields(site)) == {"view", "callback", "tween"}


def test_a_callback_that_another_adds_may_change_the_session_too(site):
    def view(request):
        def first(request, response):
            request.add_response_callback(lambda request, response: add("callback")(request))

        request.add_response_callback(first)
        request.session["view"] = 1

    site.get(view)
    assert set(fields(site)) == {"view", "callback"}


def test_a_subscriber_to_the_response_may_use_the_session_and_drops_all_changes_if_it_raises(site):
    effects = []
    site.config.add_subscriber(lambda event: [effect(event.request) for effect in effects], NewResponse)
    effects.append(add("subscriber"))
    response = site.get(add("view"))
    assert "Cookie" in response.vary
    effects[:] = [broken]
    with pytest.raises(ZeroDivisionError):
        site.get(add("view", 2))
    effects.clear()
    assert fields(site) == {"view": 1, "subscriber": 1}


def test_a_request_within_the_handling_of_an_error_is_a_request_like_any_other(site):
    try:
        broken(None)
    except AttributeError:
        site.get(add())
    assert fields(site) == {"a": 1}


# Exceptions


def test_an_exception_without_a_view_goes_on_to_the_server_and_nothing_is_stored(site, sessions):
    site.get(add())
    with pytest.raises(ZeroDivisionError):
        site.get(broken)
    assert fields(site) == {"a": 1}
    assert sessions.count() == 1


def test_a_sign_out_before_an_exception_is_a_sign_out(site, sessions):
    site.get(lambda request: request.session.sign_in("ada"))

    def view(request):
        request.session.sign_out()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        site.get(view)
    assert sessions.of_user("ada") == []


def test_a_response_callback_that_raises_fails_the_request_as_a_view_does(site, sessions):
    site.get(lambda request: request.session.sign_in("ada"))

    def fail(request, response):
        raise ZeroDivisionError

    def changing(request):
        request.add_response_callback(fail)
        request.session["a"] = 1

    def leaving(request):
        request.add_response_callback(fail)
        request.session.sign_out()

    with pytest.raises(ZeroDivisionError):
        site.get(changing)
    assert fields(site) == {}
    with pytest.raises(ZeroDivisionError):
        site.get(leaving)
    assert sessions.of_user("ada") == []


@pytest.mark.parametrize(
    ("status", "kept"), [(302, True), (404, True), (409, True), (500, False), (503, False)]
)
def test_a_raised_http_exception_stores_unless_it_is_a_servers_error(site, status, kept):
    def view(request):
        request.session["a"] = 1
        raise httpexceptions.exception_response(status)

    response = site.get(view)
    assert response.status_int == status
    assert ("Set-Cookie" in response.headers) == kept
    assert fields(site) == ({"a": 1} if kept else {})


def test_a_returned_http_exception_is_a_response_like_any_other(site):
    def view(request):
        request.session["a"] = 1
        return httpexceptions.HTTPServiceUnavailable()

    assert site.get(view).status_int == 503
    assert fields(site) == {"a": 1}


def test_an_exception_view_below_500_answers_and_what_was_changed_is_stored(site):
    site.config.add_exception_view(lambda request: Response("gone", status=410), context=ZeroDivisionError)
    assert site.get(broken).status_int == 410
    assert fields(site) == {"a": "unwanted"}


def test_a_value_that_is_too_large_is_an_error_of_the_request(site, sessions):
    with pytest.raises(TooLarge):
        site.get(add("a", "x" * 1_000_000))
    assert sessions.count() == 0


def test_what_cant_be_stored_at_the_end_is_an_error_after_the_other_callbacks_and_a_sign_out_counts(
    site, sessions
):
    site.get(lambda request: request.session.sign_in("ada"))
    finished = []

    def view(request):
        request.add_finished_callback(finished.append)
        request.session.sign_out()
        request.session["a"] = grown = []
        grown.append("x" * 1_000_000)

    with pytest.raises(TooLarge):
        site.get(view)
    assert len(finished) == 1
    assert sessions.of_user("ada") == []


def test_a_script_without_a_response_stores_nothing(site, sessions):
    script = prepare(registry=site.app.registry)
    script["request"].session["a"] = 1
    script["closer"]()
    assert sessions.count() == 0


# Requests within requests, and again


def test_a_subrequest_of_its_own_has_a_session_of_its_own(site):
    def view(request):
        if request.params.get("inner"):
            request.session["inner"] = 1
            return Response("inner")
        request.session["outer"] = 1
        answers = [
            request.invoke_subrequest(Request.blank("/play?inner=1", environ=seen), use_tweens=use_tweens)
            for use_tweens in (False, True)
            for seen in [{"the view": request.environ["the view"], "wsgi.url_scheme": "https"}]
        ]
        return ["Set-Cookie" in answer.headers for answer in answers]

    assert site.get(view).text == "[True, True]"
    assert fields(site) == {"outer": 1}


def test_a_copied_request_shares_the_session_that_the_first_one_stores(site):
    def view(request):
        if request.params.get("inner"):
            request.session["inner"] = request.params["inner"]
            return Response("inner")
        request.session["outer"] = 1
        for use_tweens in (False, True):
            inner = request.copy()
            inner.query_string = f"inner={use_tweens}"
            answer = request.invoke_subrequest(inner, use_tweens=use_tweens)
            assert "Set-Cookie" not in answer.headers
            assert request.session["inner"] == str(use_tweens)
        return "ok"

    assert len(site.get(view).headers.getall("Set-Cookie")) == 1
    assert fields(site) == {"outer": 1, "inner": "True"}


def test_a_policy_that_tries_a_request_again_gets_a_new_session_for_each_attempt(site):
    def again(environ, router):
        for _ in range(3):
            with router.request_context(environ) as request:
                try:
                    return router.invoke_request(request)
                except ZeroDivisionError:
                    continue
        raise AssertionError("it never worked")

    site.config.set_execution_policy(again)
    attempts = []

    def view(request):
        attempts.append(dict(request.session))
        request.session["tries"] = request.session.get("tries", 0) + 1
        if len(attempts) < 3:
            raise ZeroDivisionError

    assert site.get(view).status_int == 200
    assert attempts == [{}, {}, {}]
    assert fields(site) == {"tries": 1}


def test_the_session_is_also_stored_where_a_list_of_tweens_leaves_out_ours(sessions):
    site = Site(sessions, **{"pyramid.tweens": "pyramid.tweens.excview_tween_factory"})
    site.get(add())
    assert fields(site) == {"a": 1}
    with pytest.raises(ZeroDivisionError):
        site.get(broken)
    assert fields(site) == {"a": 1}


def test_an_error_is_raised_as_it_is_where_a_list_of_tweens_has_only_the_inner_one(sessions):
    tweens = "pyramid.tweens.excview_tween_factory coatcheck.frameworks.pyramid.inner_tween_factory"
    site = Site(sessions, **{"pyramid.tweens": tweens})
    with pytest.raises(ZeroDivisionError):
        site.get(lambda request: 1 / 0)
