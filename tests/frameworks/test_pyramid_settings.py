"""Pyramid's set-up: the settings of an .ini file, a manager given in code, and what contradicts itself."""

from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, Sessions, StoreUnavailable
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.shim import awaitable
from tests.behaviours.site import SECRET
from tests.frameworks.pyramid_apps import INCLUDE, Configurator, Request, Site, app_of, configured

OLD_SECRET = SECRET[::-1]
manager = Sessions(MemoryStore(), secret=SECRET)


def sessions_of(**settings):
    """The manager of an application with these settings, each without its prefix, and a double underscore for a dot."""
    settings = {f"coatcheck.{name.replace('__', '.')}": value for name, value in settings.items()}
    config = Configurator(settings=settings)
    config.include(INCLUDE)
    return config.make_wsgi_app().registry.settings["coatcheck.sessions"]


def test_the_settings_of_an_ini_file_make_the_manager(tmp_path):
    settings = sessions_of(
        url=f"sqlite:///{tmp_path}/sessions.db",
        secret=f"{SECRET}\n  {OLD_SECRET}",
        idle_timeout="1800",
        remember_absolute="864000.5",
        remember_idle="864000",
        insecure_http="true",
        max_flashes="7",
        max_sessions_per_user="3",
        outage="anonymous",
        identity="auth.userid",
        cookie__name="shop",
        cookie__samesite="Strict",
        synchronous="FULL",
    ).settings
    assert settings.idle_timeout == timedelta(minutes=30)
    assert settings.remember_absolute == timedelta(days=10, seconds=0.5)
    assert (settings.insecure_http, settings.max_flashes, settings.max_sessions_per_user) == (True, 7, 3)
    assert (settings.outage, settings.identity) == ("anonymous", "auth.userid")
    assert (settings.cookie.name, settings.cookie.samesite) == ("shop", "Strict")
    assert settings.secret == [SECRET, OLD_SECRET]
    assert (tmp_path / "sessions.db").exists()


def test_settings_given_in_code_are_taken_as_they_are():
    settings = sessions_of(
        url="memory://",
        secret=SECRET,
        idle_timeout=timedelta(minutes=5),
        insecure_http=True,
        max_bytes=2048,
        cookie__partitioned=False,
    ).settings
    assert (settings.idle_timeout, settings.max_bytes) == (timedelta(minutes=5), 2048)
    assert settings.insecure_http
    assert not settings.cookie.partitioned


def test_a_manager_is_taken_as_it_is_or_by_its_dotted_name():
    assert sessions_of(sessions=manager) is manager
    assert sessions_of(sessions=f"{__name__}.manager") is manager


def test_further_settings_change_a_copy_of_the_manager():
    changed = sessions_of(sessions=manager, idle_timeout="60", cookie__path="/shop")
    assert changed.store is manager.store
    assert (changed.settings.idle_timeout, changed.settings.cookie.path) == (timedelta(minutes=1), "/shop")
    assert manager.settings.cookie.path == "/"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "coatcheck.url"),
        ({"secret": SECRET}, "coatcheck.url"),
        ({"url": "memory://", "sessions": manager}, "coatcheck.url"),
        ({"url": "memory://"}, "secret"),
        ({"url": "memory://", "secret": SECRET, "idle": "1"}, "no setting coatcheck.idle "),
        ({"url": "memory://", "secret": SECRET, "cookie__nmae": "x"}, "no setting coatcheck.cookie.nmae "),
        ({"sessions": manager, "prefix": "x"}, "no setting coatcheck.prefix "),
        ({"url": "memory://", "secret": SECRET, "idle_timeout": "soon"}, "coatcheck.idle_timeout .*'soon'"),
        ({"url": "memory://", "secret": SECRET, "idle_timeout": "inf"}, "coatcheck.idle_timeout .*'inf'"),
        ({"url": "memory://", "secret": SECRET, "clock": "time.time"}, "clock must be a callable"),
        ({"sessions": ""}, "coatcheck.url"),
        ({"url": "memory://", "secret": SECRET, "max_bytes": "1k"}, "coatcheck.max_bytes .*'1k'"),
        (
            {"url": "memory://", "secret": SECRET, "insecure_http": "true", "cookie__name": "__Host-a"},
            "__Host-",
        ),
        ({"sessions": AsyncSessions(awaitable(MemoryStore()), secret=SECRET)}, "not AsyncSessions"),
    ],
)
def test_settings_that_cant_be_are_refused_when_the_application_is_built(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        sessions_of(**settings)


def test_the_refusal_of_a_secret_does_not_show_it():
    with pytest.raises(ConfigurationError) as caught:
        sessions_of(url="memory://", secret="open-sesame")
    assert "sesame" not in str(caught.value)


def test_two_applications_may_have_one_manager(sessions):
    sites = [Site(sessions), Site(sessions)]
    sites[0].get(lambda request: request.session.update(a=1))
    sites[1].cookies = sites[0].cookies
    assert sites[1].get(lambda request: request.session["a"]).text == "1"


def test_including_it_twice_is_including_it_once(sessions):
    config = configured(sessions)
    config.include(INCLUDE)
    config.commit()
    config.include(INCLUDE)
    assert config.make_wsgi_app()


def test_the_user_agent_and_the_path_reach_the_manager(sessions, store):
    site = Site(sessions.with_settings(outage={"/play": "anonymous"}))
    site.get(lambda request: request.session.sign_in("ada"), HTTP_USER_AGENT="Nice browser")
    assert [info.client for info in sessions.of_user("ada")] == ["Nice browser"]
    store.fail("load", error=StoreUnavailable("the test says so", ambiguous=False))
    assert site.get(lambda request: request.session.user).text == "None"


def test_the_includes_of_an_ini_file_set_it_up(sessions):
    config = Configurator(settings={"pyramid.includes": INCLUDE, "coatcheck.sessions": sessions})
    app = app_of(config, play=lambda request: request.session.sessions is sessions)
    assert Request.blank("/play").get_response(app).text == "True"


def test_a_part_of_the_cookie_leaves_the_others_of_the_manager_and_false_is_false():
    named = manager.with_settings(cookie=CookieSettings(name="shop", partitioned=True))
    settings = {"sessions": named, "cookie__path": "/shop", "cookie__partitioned": "false"}
    assert sessions_of(**settings).settings.cookie == CookieSettings(name="shop", path="/shop")


def test_a_part_of_the_cookie_stands_beside_a_cookie_that_is_given_whole():
    settings = {"sessions": manager, "cookie": CookieSettings(name="shop"), "cookie__path": "/shop"}
    assert sessions_of(**settings).settings.cookie == CookieSettings(name="shop", path="/shop")
