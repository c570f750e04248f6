"""Settings ([KEEP] and [FIX] 1.4)."""

import sys
import types

import pytest

from coatcheck.compat.gimlet.backends.base import BaseBackend
from coatcheck.compat.gimlet.backends.memcache import MemcacheBackend
from coatcheck.compat.gimlet.backends.pyredis import RedisBackend
from coatcheck.compat.gimlet.factories import SideBySideWarning, session_factory_from_settings
from coatcheck.compat.gimlet.util import parse_settings
from coatcheck.errors import ConfigurationError
from tests.compat.gimlet.browser import SECRET


class Mine(BaseBackend):
    def __init__(self, **options):
        self.options = options


def parsed(**settings):
    return parse_settings(
        {"secret": SECRET, **{name.replace("__", "."): v for name, v in settings.items()}}, prefix=""
    )


def test_only_what_begins_with_the_prefix_counts_and_the_prefix_is_cut_off():
    """[TEST]."""
    settings = {"gimlet.secret": SECRET, "gimlet.x": "1", "mine.secret": "other", "secret": "third"}
    assert parse_settings(settings) == {"secret": SECRET, "x": "1"}
    assert parse_settings(settings, "mine.") == {"secret": "other"}
    assert parse_settings(settings, "").keys() == settings.keys()


def test_booleans_may_be_text():
    """[TEST]: clientside and permanent; ours as well."""
    told = parsed(clientside="yes", permanent="off", side_by_side="on", read_old="0")
    assert told == {
        "secret": SECRET,
        "clientside": True,
        "permanent": False,
        "side_by_side": True,
        "read_old": False,
    }


@pytest.mark.parametrize(("name", "kind"), [("pyredis", RedisBackend), ("memcache", MemcacheBackend)])
def test_a_backend_is_named_by_its_module(name, kind):
    """[KEEP]."""
    for full in (name, f"gimlet.backends.{name}", f"coatcheck.compat.gimlet.backends.{name}"):
        assert isinstance(parsed(backend=full)["backend"], kind)


def test_the_arguments_of_a_backend_are_passed_on_as_they_are():
    """[KEEP]: unconverted strings."""
    told = parsed(backend=Mine, backend__a="1", backend__b="true")
    assert told.keys() == {"secret", "backend"}
    assert told["backend"].options == {"a": "1", "b": "true"}
    redis = parsed(backend="pyredis", backend__host="h", backend__port="7", backend__db="3")["backend"]
    arguments = redis.client.connection_pool.connection_kwargs
    assert (arguments["host"], arguments["port"], arguments["db"]) == ("h", 7, 3)


def test_fix_a_prefix_and_hosts_as_text():
    assert parsed(backend="pyredis", backend__prefix="mine.")["backend"].prefix == b"mine."
    assert len(parsed(backend="memcache", backend__hosts="a, b c:1")["backend"].pools) == 3


def test_a_class_is_taken_even_the_base_itself_and_so_is_a_backend_that_is_ready():
    """[KEEP]; the last is an extension."""
    assert type(parsed(backend=BaseBackend)["backend"]) is BaseBackend
    ready = Mine()
    assert parsed(backend=ready)["backend"] is ready
    for wrong in (object, 7, object()):
        with pytest.raises(ValueError, match="backend must be a subclass of BaseBackend"):
            parsed(backend=wrong)


def test_the_first_class_of_a_module_of_ones_own_is_taken(monkeypatch):
    """[KEEP]: alphabetically; imported ones count."""
    module = types.ModuleType("my.backends")
    module.ZBackend, module.Mine, module.BaseBackend = type("ZBackend", (BaseBackend,), {}), Mine, BaseBackend
    monkeypatch.setitem(sys.modules, "my", types.ModuleType("my"))
    monkeypatch.setitem(sys.modules, "my.backends", module)
    assert type(parsed(backend="my.backends")["backend"]) is Mine


def test_a_module_without_a_backend_is_an_import_error():
    with pytest.raises(ImportError, match="no subclass"):
        parsed(backend="coatcheck.errors")


def test_unknown_options_are_a_type_error():
    """[KEEP]."""
    for settings in ({"gimlet.nonsense": "1"}, {"gimlet.backend.url": "sqlite://"}):
        with pytest.raises(TypeError):
            session_factory_from_settings({"gimlet.secret": SECRET, **settings})


def test_a_key_may_be_text_and_so_may_a_list_of_classes():
    with pytest.warns(SideBySideWarning):
        made = session_factory_from_settings(
            {
                "gimlet.secret": SECRET,
                "gimlet.encryption_key": "00" * 32,
                "gimlet.allow": "datetime.date decimal.Decimal",
                "gimlet.side_by_side": "true",
                "gimlet.permanent_lifetime": "3600",
            }
        )
    assert made.lifetimes["perm"].total_seconds() == 3600
    with pytest.raises(ConfigurationError, match="can't be imported"):
        session_factory_from_settings({"gimlet.secret": SECRET, "gimlet.allow": "no.such"})
