"""Reading a stored value runs no code."""

from __future__ import annotations

import ast
import marshal
import os
import pickle
import re
from pathlib import Path

import msgspec
import pytest
from msgspec.msgpack import Ext

import coatcheck
from coatcheck.errors import DecodeError
from coatcheck.model.codec import decode
from tests.model.values import plain

pytestmark = pytest.mark.promise("C")


pack = msgspec.msgpack.encode


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.promise("19")
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_in_the_store_does_not_run(tmp_path, protocol):
    marker = tmp_path / "it ran"
    data = pickle.dumps(Evil(marker), protocol)
    for stored in (data, pack(data), *(pack(Ext(code, data)) for code in range(-1, 12))):
        try:
            found = decode(stored)
        except DecodeError:
            continue
        assert plain(found)  # bytes, or a huge int
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the bait is good"


@pytest.mark.promise("19")
def test_marshalled_code_in_the_store_does_not_run():
    for value in (compile("1/0", "x", "exec"), {"a": 1}, (lambda: None).__code__):
        data = marshal.dumps(value)
        try:
            found = decode(data)
        except DecodeError:
            continue
        assert plain(found)


RUNS_CODE = {
    *("pickle", "cPickle", "_pickle", "pickletools", "marshal", "shelve", "dbm", "copyreg"),
    *("dill", "cloudpickle", "jsonpickle", "joblib", "yaml", "ruamel", "code", "codeop", "runpy"),
}


def ways_to_run_code(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.partition(".")[0] in RUNS_CODE]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in RUNS_CODE:
                found.append(module)
            case ast.Name(id="eval" | "exec" | "compile" | "__import__" as name):
                found.append(name)
            case ast.Attribute(attr="eval" | "exec" | "__import__" | "loads_pickle" as name):
                found.append(name)
    return found


SOURCE = Path(coatcheck.__file__).parent
WRITER = SOURCE / "compat" / "_pickler.py"
"""Writes what servers of the old libraries read. Reading is done by code of our own."""


@pytest.mark.promise("19")
def test_nothing_in_the_package_can_unpickle_or_evaluate():
    for path in SOURCE.rglob("*.py"):
        if path != WRITER:
            assert ways_to_run_code(path.read_text()) == [], path.name


@pytest.mark.promise("19")
def test_of_pickle_only_the_writing_half_is_used():
    assert ways_to_run_code(WRITER.read_text()) == ["pickle"]
    assert set(re.findall(r"pickle\.(\w+)", WRITER.read_text())) == {"Pickler", "PicklingError"}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal as m",
        "def f():\n    from pickle import loads",
        "from shelve import open",
        "import yaml.cyaml",
        "eval('1')",
        "x = exec",
        "import builtins\nbuiltins.eval('1')",
        "__import__('pickle')",
        "try:\n    import cPickle\nexcept ImportError:\n    pass",
    ],
)
def test_the_search_for_ways_to_run_code_finds_them(source):
    assert ways_to_run_code(source)


def test_the_search_does_not_mind_words():
    assert (
        ways_to_run_code("import re\n# pickle, eval(x)\n'''import pickle'''\nre.compile('x')\nevaluate = 1")
        == []
    )
