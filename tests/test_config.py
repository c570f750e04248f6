from __future__ import annotations

import dataclasses
import time
import typing
from datetime import timedelta

import pytest

from coatcheck import ConfigurationError, CookieSettings, Sessions, Settings
from coatcheck.config import Options
from coatcheck.stores.memory import MemoryStore
from tests.visitor import OLD_SECRET, SECRET

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_the_defaults_are_those_of_the_design():
    settings = Settings(secret=SECRET)
    assert {
        name: getattr(settings, name) for name in Options.__annotations__ if name not in ("secret", "clock")
    } == {
        "idle_timeout": 24 * HOUR,
        "absolute_timeout": 30 * DAY,
        "remember_idle": 30 * DAY,
        "remember_absolute": 90 * DAY,
        "rotate_every": None,
        "rotation_grace": timedelta(seconds=60),
        "late_window": timedelta(seconds=120),
        "cookie": CookieSettings(),
        "insecure_http": False,
        "outage": "closed",
        "revocation": "index",
        "merge": {},
        "identity": None,
        "deadline": timedelta(seconds=2),
        "max_bytes": 256 * 1024,
        "max_flashes": 100,
        "max_sessions_per_user": None,
        "on_event": None,
    }
    assert (
        settings.template.set("TOKEN", max_age=None)
        == "__Host-session=TOKEN; Path=/; Secure; HttpOnly; SameSite=Lax"
    )


def test_the_default_clock_is_the_one_that_a_test_has_put_in_place(monkeypatch):
    """As freezegun does, also after the settings were made."""
    clock = Settings(secret=SECRET).clock
    monkeypatch.setattr(time, "time", lambda: 7.5)
    assert clock() == 7.5


def test_durations_are_whole_milliseconds_inside():
    settings = Settings(
        secret=SECRET,
        idle_timeout=timedelta(days=2, seconds=1),
        rotate_every=timedelta(days=1, milliseconds=5),
        late_window=timedelta(0),
    )
    assert settings.lifetimes.idle == 172_801_000
    assert settings.lifetimes.absolute == 30 * 86_400_000
    assert settings.lifetimes.remember_idle == 30 * 86_400_000
    assert settings.lifetimes.remember_absolute == 90 * 86_400_000
    assert settings.rotate_every_ms == 86_400_005
    assert settings.rotation_grace_ms == 60_000
    assert settings.late_window_ms == 0
    assert Settings(secret=SECRET).rotate_every_ms is None


@pytest.mark.parametrize(
    ("cookie", "insecure_http", "expected"),
    [
        (CookieSettings(), False, "__Host-session"),
        (CookieSettings(), True, "coatcheck"),
        (CookieSettings(domain="example.com"), False, "__Secure-session"),
        (CookieSettings(path="/app"), False, "__Secure-session"),
        (CookieSettings(path="/app"), True, "coatcheck"),
        (CookieSettings(name="sid"), False, "sid"),
        (CookieSettings(name="__Host-Http-sid"), False, "__Host-Http-sid"),
    ],
    ids=range(7),
)
def test_the_cookie_has_the_strongest_name_that_its_settings_allow(cookie, insecure_http, expected):
    settings = Settings(secret=SECRET, cookie=cookie, insecure_http=insecure_http)
    assert settings.template.name == expected
    assert settings.cookie_name == expected.encode()
    assert ("Secure" in settings.template.clear()) is not insecure_http


BAD = [
    ({"idle_timeout": 3600}, "idle_timeout must be a timedelta, not int"),
    ({"absolute_timeout": None}, "absolute_timeout must be a timedelta"),
    ({"remember_idle": "1 day"}, "remember_idle must be a timedelta"),
    ({"remember_absolute": 1.5}, "remember_absolute must be a timedelta"),
    ({"rotate_every": 60}, "rotate_every must be a timedelta"),
    ({"rotation_grace": None}, "rotation_grace must be a timedelta"),
    ({"late_window": None}, "late_window must be a timedelta"),
    ({"idle_timeout": timedelta(0)}, "idle_timeout must be at least one second"),
    ({"idle_timeout": timedelta(milliseconds=999)}, "idle_timeout must be at least one second"),
    ({"absolute_timeout": timedelta(seconds=-1)}, "absolute_timeout must be at least one second"),
    ({"remember_idle": timedelta(0)}, "remember_idle must be at least one second"),
    ({"remember_absolute": timedelta(0)}, "remember_absolute must be at least one second"),
    ({"rotate_every": timedelta(0)}, "rotate_every must be at least one second"),
    ({"rotation_grace": timedelta(seconds=-1)}, "rotation_grace must not be negative"),
    ({"late_window": timedelta(microseconds=-1)}, "late_window must not be negative"),
    ({"idle_timeout": 31 * DAY}, "idle_timeout must not be longer than absolute_timeout"),
    ({"remember_idle": 91 * DAY}, "remember_idle must not be longer than remember_absolute"),
    ({"remember_absolute": 401 * DAY}, "400 days"),
    ({"absolute_timeout": timedelta(days=400, seconds=1)}, "400 days"),
    ({"outage": "open"}, "'closed' or 'anonymous'"),
    ({"outage": None}, "'closed' or 'anonymous'"),
    ({"outage": ["/goods"]}, "'closed' or 'anonymous'"),
    ({"outage": {"/goods": "open"}}, "'closed' or 'anonymous'"),
    ({"outage": {"/goods": "anonymous", "basket": "closed"}}, "outage takes prefixes of paths"),
    ({"outage": {"/goods/*": "anonymous"}}, "write '/shop'"),
    ({"deadline": timedelta(0)}, "deadline must be greater than zero"),
    ({"revocation": "list"}, "revocation must be 'index' or 'epoch', not 'list'"),
    ({"identity": 5}, "identity must be the name of a field"),
    ({"identity": ""}, "identity must be the name of a field"),
    ({"identity": "\0csrf"}, "identity must be the name of a field"),
    ({"identity": ("user",)}, "or a pair of it and a function"),
    ({"identity": ("user", "id")}, "or a pair of it and a function"),
    ({"identity": ("", str)}, "identity must be the name of a field"),
    ({"identity": "n", "merge": {"n": max}}, "the identity field is never merged"),
    ({"merge": ["visits"]}, "merge must map names of fields to functions"),
    ({"merge": {"visits": "add"}}, "merge must map names of fields to functions"),
    ({"merge": {1: max}}, "merge must map names of fields to functions"),
    ({"max_flashes": 0}, "max_flashes must be a whole number, at least 1"),
    ({"max_flashes": True}, "max_flashes must be a whole number, at least 1"),
    ({"max_sessions_per_user": 0}, "max_sessions_per_user must be a whole number, at least 1"),
    ({"max_sessions_per_user": -1}, "max_sessions_per_user must be a whole number, at least 1"),
    ({"max_sessions_per_user": True}, "max_sessions_per_user must be a whole number, at least 1"),
    ({"max_sessions_per_user": 2.0}, "max_sessions_per_user must be a whole number, at least 1"),
    ({"max_bytes": 1023}, "max_bytes must be a whole number, at least 1024"),
    ({"max_bytes": 0}, "max_bytes must be a whole number, at least 1024"),
    ({"max_bytes": "1 MB"}, "max_bytes"),
    ({"max_bytes": None}, "max_bytes"),
    ({"cookie": "session"}, "cookie must be a CookieSettings"),
    ({"cookie": {"name": "session"}}, "cookie must be a CookieSettings"),
    ({"cookie": CookieSettings(name="__Host-s", domain="example.com")}, "__Secure-session"),
    ({"cookie": CookieSettings(name="__host-s", path="/app")}, "__Secure-session"),
    ({"cookie": CookieSettings(name="__Secure-s"), "insecure_http": True}, "insecure_http off"),
    ({"cookie": CookieSettings(name="__Http-s"), "insecure_http": True}, "insecure_http off"),
    ({"cookie": CookieSettings(samesite="None"), "insecure_http": True}, "insecure_http off"),
    ({"cookie": CookieSettings(partitioned=True), "insecure_http": True}, "insecure_http off"),
    ({"cookie": CookieSettings(samesite="none")}, "'Lax', 'Strict' or 'None'"),
    ({"cookie": CookieSettings(name="a b")}, "letters, digits"),
    ({"cookie": CookieSettings(path="app")}, "must begin with '/'"),
    ({"cookie": CookieSettings(domain="exa mple")}, "not a domain"),
    ({"on_event": "print"}, "on_event"),
    ({"clock": 1_700_000_000}, "clock"),
    ({"secret": "too short"}, "coatcheck secret"),
    ({"secret": []}, "coatcheck secret"),
    ({"secret": [SECRET, "change-me-change-me-change-me-change-me"]}, "coatcheck secret"),
    ({"secret": None}, "coatcheck secret"),
]


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("options", "told"), BAD, ids=[f"{at} {next(iter(bad))}" for at, (bad, _) in enumerate(BAD)]
)
def test_what_can_not_work_fails_when_the_settings_are_built_and_says_what_to_write(options, told):
    with pytest.raises(ConfigurationError) as caught:
        Settings(**{"secret": SECRET, **options})
    assert told in str(caught.value)
    with pytest.raises(ConfigurationError):
        Sessions(MemoryStore(), **{"secret": SECRET, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"idle_timeout": DAY, "absolute_timeout": DAY},
        {"remember_idle": 90 * DAY},
        {"absolute_timeout": 400 * DAY, "remember_absolute": 400 * DAY},
        {
            "idle_timeout": timedelta(seconds=1),
            "rotate_every": timedelta(seconds=1),
            "rotation_grace": timedelta(0),
        },
        {"max_bytes": 1024},
        {"outage": "anonymous"},
        {"cookie": CookieSettings(samesite="None", partitioned=True)},
        {"cookie": CookieSettings(domain="example.com", path="/app", samesite="Strict")},
    ],
    ids=range(8),
)
def test_what_can_work_is_taken(options):
    Settings(secret=SECRET, **options)


@pytest.mark.promise("25")
@pytest.mark.parametrize("name", ["secrets", "timeout", "cookie_name", "ring", "template"])
def test_a_setting_that_there_is_not_is_a_type_error(name):
    with pytest.raises(TypeError, match=name):
        Sessions(MemoryStore(), **{"secret": SECRET, name: 1})
    with pytest.raises(TypeError, match=name):
        Settings(**{"secret": SECRET, name: 1})


def test_a_missing_secret_says_how_to_make_one():
    with pytest.raises(ConfigurationError, match="coatcheck secret"):
        Sessions(MemoryStore())


@pytest.mark.promise("18")
def test_the_secret_never_shows():
    for secret in (SECRET, [SECRET, OLD_SECRET], SECRET.encode()):
        settings = Settings(secret=secret)
        for shown in (
            repr(settings),
            str(settings),
            f"{settings}",
            repr(Sessions(MemoryStore(), secret=secret)),
        ):
            assert SECRET not in shown
            assert OLD_SECRET not in shown


def test_settings_can_not_be_changed_and_take_keywords_only():
    settings = Settings(secret=SECRET)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.idle_timeout = HOUR
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.cookie.name = "x"
    with pytest.raises(TypeError):
        Settings(SECRET)
    with pytest.raises(TypeError):
        CookieSettings("session")


def test_the_managers_take_exactly_the_settings():
    fields = {field.name: field for field in dataclasses.fields(Settings) if field.init}
    assert list(fields) == list(Options.__annotations__)
    types = typing.get_type_hints(Settings)
    assert {name: types[name] for name in fields} == typing.get_type_hints(Options)


def test_a_manager_with_other_settings_shares_the_store_and_changes_nothing_else():
    sessions = Sessions(MemoryStore(), secret=SECRET, idle_timeout=HOUR)
    other = sessions.with_settings(insecure_http=True)
    assert other.store is sessions.store
    assert type(other) is Sessions
    assert (other.settings.idle_timeout, other.settings.template.name) == (HOUR, "coatcheck")
    assert sessions.settings.template.name == "__Host-session"
    with pytest.raises(ConfigurationError):
        sessions.with_settings(idle_timeout=31 * DAY)
    with pytest.raises(TypeError):
        sessions.with_settings(idle=HOUR)


def test_the_outage_policy_of_a_path_is_that_of_the_longest_prefix_and_otherwise_closed():
    chosen = {"/goods": "anonymous", "/goods/pay": "closed"}
    settings = Settings(secret=SECRET, outage=chosen)
    chosen["/"] = "anonymous"
    policies = {path: settings.outage_at(path) for path in ("", "/", "/goods", "/goods/1", "/goods/pay/2")}
    assert list(policies.values()) == ["closed", "closed", "anonymous", "anonymous", "closed"]
    assert Settings(secret=SECRET, outage={"/": "anonymous"}).outage_at("") == "anonymous"
    assert Settings(secret=SECRET, outage="anonymous").outage_at("/goods") == "anonymous"
    assert Settings(secret=SECRET).outage_at("/goods") == "closed"
