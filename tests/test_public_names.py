from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import coatcheck
from coatcheck import errors, events, session, sessions

ROOT = Path(__file__).parent.parent
SOURCE = Path(coatcheck.__file__).parent


def own_docstring(name: str) -> str | None:
    """The docstring of the definition itself: not a base's, and not the one that `dataclass` makes."""
    found = getattr(coatcheck, name)
    if inspect.ismodule(found):
        return found.__doc__
    for path in (*SOURCE.glob("*.py"), *(SOURCE / "model").glob("*.py")):
        body = ast.parse(path.read_text()).body
        for at, node in enumerate(body):
            match node:
                case ast.ClassDef(name=found) | ast.FunctionDef(name=found) if found == name:
                    return ast.get_docstring(node)
                case ast.Assign(targets=[ast.Name(id=found)]) if found == name and at + 1 < len(body):
                    match body[at + 1]:
                        case ast.Expr(value=ast.Constant(value=str(text))):
                            return text
    return None


def test_the_public_names_are_sorted_and_there():
    assert coatcheck.__all__ == sorted(set(coatcheck.__all__))
    for name in coatcheck.__all__:
        assert hasattr(coatcheck, name)


def test_nothing_else_looks_public():
    extra = {name for name in vars(coatcheck) if not name.startswith("_")} - set(coatcheck.__all__)
    assert {name for name in extra if not inspect.ismodule(getattr(coatcheck, name))} == set()


def test_every_error_and_every_name_of_the_sessions_is_public():
    assert set(errors.__all__) <= set(coatcheck.__all__)
    assert set(sessions.__all__) <= set(coatcheck.__all__)
    assert {"Session", "Flash"} <= set(session.__all__) & set(coatcheck.__all__)
    assert "Event" in events.__all__


@pytest.mark.parametrize("name", coatcheck.__all__)
def test_every_public_name_says_what_it_promises(name):
    assert own_docstring(name)


@pytest.mark.parametrize("name", coatcheck.__all__)
def test_every_public_name_is_in_the_documentation(name):
    pages = [page for page in (ROOT / "docs").rglob("*.md") if re.search(rf"\b{name}\b", page.read_text())]
    assert pages, f"no page under docs/ mentions {name}"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (owner, name)
        for owner in (coatcheck.Session, coatcheck.Sessions, coatcheck.AsyncSessions)
        for name, member in sorted(vars(owner).items())
        if not name.startswith("_") and (callable(member) or isinstance(member, property | classmethod))
    ],
    ids=lambda part: part if isinstance(part, str) else part.__name__,
)
def test_every_public_method_says_what_it_promises(owner, name):
    assert inspect.getdoc(vars(owner)[name])


@pytest.mark.parametrize("name", ["Settings", "CookieSettings"])
def test_every_setting_is_documented_under_the_setting(name):
    (node,) = (
        node
        for node in ast.parse((SOURCE / "config.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    undocumented = []
    for field, following in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or "init=False" in ast.unparse(field):
            continue
        match following:
            case ast.Expr(value=ast.Constant(value=str())):
                pass
            case _:
                undocumented.append(field.target.id)
    assert undocumented == []


def test_every_kind_of_event_is_in_the_documentation():
    text = "\n".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert {kind for kind in events.KINDS if f"`{kind}`" not in text} == set()


def test_the_version_is_the_one_that_is_packaged():
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert coatcheck.__version__ == found[1]
