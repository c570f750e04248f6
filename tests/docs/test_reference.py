"""What the reference says of names, settings and events is what the code has."""

import inspect
import re
import time
from dataclasses import MISSING, fields
from datetime import timedelta

from coatcheck import CookieSettings, Sessions, Settings
from coatcheck.config import Options
from coatcheck.events import KINDS
from coatcheck.stores import redis, sql
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.urls import StoreOptions
from tests.docs import versions
from tests.docs.pages import DOCS, PAGES

REFERENCE = {page.stem: page.read_text() for page in (DOCS / "reference").glob("*.md")}
ALL = "\n".join(page.read_text() for page in PAGES)
KNOWN = {"timedelta": timedelta, "CookieSettings": CookieSettings, "time": time}


def rows_under(heading, page):
    """The rows of the first table under a heading, each as its cells."""
    section = re.split(rf"^#+ {heading}$", REFERENCE[page], maxsplit=1, flags=re.MULTILINE)[1]
    rows = []
    for line in section.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif rows:
            break
    return rows[2:]


def told_defaults(heading):
    return {
        name.strip("`"): eval(default.strip("`"), KNOWN)
        for name, default, *_ in rows_under(heading, "settings")
        if default != "required"
    }


def defaults_of(kind):
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(kind)
        if field.init
    }
    return {name: default for name, default in defaults.items() if default is not MISSING}


def test_the_table_of_settings_has_every_setting_with_its_default():
    told, defaults = told_defaults("Settings"), defaults_of(Settings)
    # It is looked up at each call.
    assert (told.pop("clock"), defaults.pop("clock").args) == (time.time, (time,))
    assert told == defaults
    names = [row[0].strip("`") for row in rows_under("Settings", "settings")]
    assert names == list(Options.__annotations__)


def test_the_table_of_the_cookie_has_every_setting_with_its_default():
    assert told_defaults("The cookie") == defaults_of(CookieSettings)


def test_the_table_of_the_store_has_every_option_with_its_default():
    parameters = inspect.signature(SQLiteStore).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.name != "path"}
    assert told_defaults("The store") == defaults


def test_the_table_of_memcached_has_every_option_with_its_default():
    parameters = inspect.signature(MemcachedStore).parameters.values()
    taken = {parameter.name: parameter.default for parameter in parameters}
    defaults = {name: default for name, default in taken.items() if name not in {"servers", "client"}}
    assert told_defaults("Memcached") == defaults


def test_the_table_of_redis_has_every_option_with_its_default():
    parameters = inspect.signature(redis.from_url).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.name != "url"}
    assert told_defaults("Redis and Valkey") == defaults


def test_the_table_of_databases_has_every_option_with_its_default():
    parameters = inspect.signature(sql.from_url).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.name != "url"}
    assert told_defaults("PostgreSQL, MySQL, MariaDB") == defaults


def test_every_option_of_a_store_stands_in_a_table_and_no_other_does():
    options = StoreOptions.__annotations__.keys() - Options.__annotations__.keys()
    tables = ("The store", "Memcached", "Redis and Valkey", "PostgreSQL, MySQL, MariaDB")
    assert {option for table in tables for option in told_defaults(table)} == options


def test_the_urls_of_the_table_that_need_no_server_open(empty_folder):
    # That each of them gives a manager is tested in tests/test_urls_of_platforms.py.
    urls = [row[0].strip("`") for row in rows_under("URLs", "settings")]
    for url in urls[:2]:
        Sessions.from_url(url, secret="2GOUdJrAmBtVgvT2N6tA5QMrcvFBmxHRgHr1aQt9mlo").shutdown()


def test_the_table_of_events_has_every_kind():
    kinds = [row[0].strip("`") for row in rows_under("The kinds", "events")]
    assert sorted(kinds) == sorted(KINDS)


def test_the_table_of_versions_is_that_of_the_locks():
    assert versions.told() == versions.table(), "write it by: python -m tests.docs.versions"


def test_no_page_mentions_what_is_not_there_as_if_it_were():
    planned = r"client_keys=|encrypt="
    assert not re.findall(planned, ALL)


def test_every_page_stands_in_the_documentation_once():
    pages = [str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")]
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))  # the index, and the pages of its groups
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    listed.remove("decisions/*")
    assert sorted(listed) == sorted(
        page for page in pages if page != "index" and not page.startswith("decisions/")
    )
