"""Pyramid's ISession: what its users write to request.session."""

from contextlib import suppress

import pytest

from coatcheck import Session
from coatcheck.frameworks.pyramid_session import PyramidSession
from coatcheck.testing import cookies_for
from tests.behaviours.app import LOOKS, ways_to_look
from tests.frameworks.pyramid_apps import ISession, Request, Site


class Html(str):
    __slots__ = ()

    def __html__(self):
        return self


@pytest.fixture
def site(sessions):
    return Site(sessions)


def test_the_session_is_one_of_pyramids_and_one_of_ours(site):
    from zope.interface.verify import verifyObject

    def view(request):
        assert verifyObject(ISession, request.session)
        assert isinstance(request.session, Session)
        assert request.session.sessions is site.sessions
        assert request.session is request.environ["coatcheck.session"]
        return "ok"

    assert site.get(view).text == "ok"
    assert not {"__implemented__", "__provides__"} & vars(Session).keys()


def test_the_age_and_the_newness_of_a_session(site, clock):
    def view(request):
        session = request.session
        seen = (session.created, session.new)
        session["a"] = 1
        return repr(seen)

    begun = int(clock.now_ms / 1000)
    assert site.get(view).text == repr((begun, True))
    clock.advance(90)
    assert site.get(view).text == repr((begun, False))


def test_values_changed_in_place_are_kept_with_and_without_changed(site):
    def change(request):
        request.session.setdefault("list", []).append(1)
        if request.params:
            assert request.session.changed() is None
        return "ok"

    site.get(change)
    site.get(change, "?call")
    assert site.get(lambda request: request.session["list"]).text == "[1, 1]"


def test_an_invalidated_session_is_over_and_the_next_has_another_secret(site, sessions):
    site.get(lambda request: request.session.sign_in("ada"))
    before = dict(site.cookies)

    def view(request):
        request.session.invalidate()
        assert "a" not in request.session
        request.session["a"] = "new"
        return "ok"

    site.get(view)
    assert sessions.of_user("ada") == []
    assert before != site.cookies
    assert (
        site.get(lambda request: (request.session.user, dict(request.session))).text == "(None, {'a': 'new'})"
    )


def test_flashes_are_kept_by_queue_until_they_are_popped(site):
    def put(request):
        session = request.session
        session.flash("one")
        session.flash("two", "warn")
        session.flash("three", queue="warn", allow_duplicate=False)
        session.flash("two", "warn", False)
        session.flash("one", allow_duplicate=False)
        session.flash("one")
        return "ok"

    def show(request):
        session = request.session
        seen = [session.peek_flash(), session.peek_flash("warn"), session.pop_flash("warn")]
        return [*seen, session.pop_flash("warn"), session.peek_flash(), session.pop_flash("none")]

    site.get(put)
    one, warn = ["one", "one"], ["two", "three"]
    assert site.get(show).text == str([one, warn, warn, [], one, []])
    assert site.get(lambda request: [request.session.pop_flash(), request.session.pop_flash()]).text == str(
        [one, []]
    )


def test_a_flash_that_was_markup_is_shown_as_markup_and_others_are_not(site):
    site.get(lambda request: request.session.flash(Html("<b>bold</b>")) or request.session.flash("<i>"))

    def show(request):
        bold, plain = request.session.pop_flash()
        return bold.__html__(), bold == "<b>bold</b>", hasattr(plain, "__html__")

    assert site.get(show).text == "('<b>bold</b>', True, False)"


def test_a_flash_of_another_framework_waits_in_the_queue_of_its_category(site, sessions):
    session = sessions.open(b"")
    session.flash("saved", "message")
    sessions.close(session)
    site.cookies.update(sessions.cookie_of(session))
    assert site.get(lambda request: request.session.peek_flash()).text == "[]"
    assert site.get(lambda request: request.session.pop_flash("message")).text == "['saved']"


def test_what_handlers_call_on_the_session_reaches_the_manager(site, sessions):
    def view(request):
        session = request.session
        session["list"] = [1]
        assert session.save()
        assert session.is_live()
        assert session.reload()
        session.flash("x", "queue", tags="big")
        (flash,) = session.take_flashes()
        assert (flash.category, flash.message, flash.tags) == ("queue", "x", "big")
        assert session.take("list", "absent") == {"list": [1]}
        assert not session.save()
        assert session.save(create=True) is False
        return "ok"

    assert site.get(view).text == "ok"
    assert sessions.count() == 1


@pytest.mark.promise("H")
def test_every_way_to_look_at_pyramids_session_makes_the_response_depend_on_the_cookie(site, sessions):
    looks = {
        **LOOKS,
        "created": lambda session: session.created,
        "new": lambda session: session.new,
        "invalidate": lambda session: session.invalidate(),
        "changed": lambda session: session.changed(),
        "pop_flash": lambda session: session.pop_flash(),
        "peek_flash": lambda session: session.peek_flash(),
        "get_csrf_token": lambda session: session.get_csrf_token(),
        "save": lambda session: session.save(),
        "take": lambda session: session.take("absent"),
        "take_flashes": lambda session: session.take_flashes(),
        "is_live": lambda session: session.is_live(),
        "reload": lambda session: session.reload(),
    }
    assert ways_to_look(PyramidSession) == set(looks)

    def view(request):
        with suppress(KeyError):
            looks[request.params["way"]](request.session)
        return "looked"

    for way in looks:
        for cookies in ({}, cookies_for(sessions, {"a": 1})):
            response = Site(sessions, cookies).get(view, f"?way={way}")
            assert (response.text, "Cookie" in response.vary) == ("looked", True), way


def test_a_view_that_does_not_use_the_session_costs_nothing(site, store):
    site.get(lambda request: request.session.update(a=1))
    store.store.reset()
    response = site.get(lambda request: str(request.session)[:0] + "plain")
    assert response.text == "plain"
    assert not {"Vary", "Set-Cookie", "Cache-Control"} & set(response.headers)
    assert store.store.sequence == []


def test_a_test_may_begin_with_a_session_and_look_into_it_afterwards(site, sessions):
    cookies = cookies_for(sessions, {"basket": ["scarf"]}, user="ada")
    request = Request.blank("/", base_url="https://localhost", cookies=cookies)
    site.get(lambda request: request.session["basket"].append("hat"), request=request)
    (info,) = sessions.of_user("ada")
    with sessions.edit(info.handle) as session:
        assert session["basket"] == ["scarf", "hat"]
