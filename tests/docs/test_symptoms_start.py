"""The section of the page on troubleshooting on applications that do not start: each message is raised, and cured."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, Sessions
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.docs.pages import SECRET, environment
from tests.docs.symptoms import quoted, symptom


def refused(make):
    with pytest.raises(ConfigurationError) as raised:
        make()
    return raised.value


@symptom("The secret is refused")
def test_a_secret_from_an_empty_variable():
    quoted(
        "The secret is refused",
        refused(lambda: Sessions(MemoryStore(), secret="")),
        refused(lambda: Sessions(MemoryStore(), secret="changeme" * 8)),
    )
    Sessions(MemoryStore(), secret=SECRET)


@symptom("The store is for the other manager")
def test_a_store_for_the_other_manager():
    quoted(
        "The store is for the other manager",
        refused(lambda: Sessions(AsyncMemoryStore(), secret=SECRET)),
        refused(lambda: AsyncSessions(MemoryStore(), secret=SECRET)),
    )
    for manager in (Sessions, AsyncSessions):
        manager.from_url("memory://", secret=SECRET)


@symptom("The URL of the store is not understood")
def test_urls_that_are_not_understood():
    quoted(
        "The URL of the store is not understood",
        refused(lambda: Sessions.from_url("mongodb://localhost", secret=SECRET)),
        refused(lambda: Sessions.from_url("sqlite://sessions.db", secret=SECRET)),
    )


@symptom("The directory of the SQLite file does not exist")
def test_a_file_in_no_directory(tmp_path):
    url = f"sqlite:///{tmp_path}/data/sessions.db"
    quoted(
        "The directory of the SQLite file does not exist",
        refused(lambda: Sessions.from_url(url, secret=SECRET)),
    )
    (tmp_path / "data").mkdir()
    Sessions.from_url(url, secret=SECRET).shutdown()


WITHOUT_REDIS = """
import sys

sys.modules["redis"] = None
from coatcheck import Sessions

try:
    Sessions.from_url("redis://localhost", secret="%s")
except ModuleNotFoundError as error:
    print(error)
"""


@symptom("A driver or a framework is not installed")
def test_a_driver_that_is_not_installed():
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_REDIS % SECRET],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    quoted("A driver or a framework is not installed", ran.stdout.strip())


@symptom("The limits do not fit each other")
def test_limits_that_do_not_fit():
    long = timedelta(days=60)
    quoted(
        "The limits do not fit each other",
        refused(lambda: Sessions(MemoryStore(), secret=SECRET, idle_timeout=long)),
    )
    Sessions(MemoryStore(), secret=SECRET, idle_timeout=long, absolute_timeout=long)


@symptom("`SameSite=None` on plain http")
def test_a_cookie_for_other_sites_on_plain_http():
    cookie = CookieSettings(samesite="None")
    quoted(
        "`SameSite=None` on plain http",
        refused(lambda: Sessions(MemoryStore(), secret=SECRET, cookie=cookie, insecure_http=True)),
    )
    Sessions(MemoryStore(), secret=SECRET, cookie=cookie)
