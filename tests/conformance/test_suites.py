"""What frameworks test of their sessions passes with ours, but for what the lists beside this file name."""

import pytest

from tests.conformance.page import PAGE, numbers_in, page, row
from tests.conformance.suites import PATIENCE, SUITES, Listed, Ran, complaints, django, run

pytestmark = pytest.mark.timeout(PATIENCE)


@pytest.mark.parametrize("name", SUITES)
def test_nothing_fails_but_what_the_list_names_and_the_page_has_the_figures(name, tmp_path):
    ran = run(name, tmp_path, sessions="ours")
    assert not complaints(ran, Listed(name).all.keys())
    assert row(name, len(ran.names)) in PAGE.read_text(), (
        "run `.venv-frameworks/bin/python -m tests.conformance`"
    )


def test_the_page_has_the_lists_as_they_are():
    text = PAGE.read_text()
    assert page(numbers_in(text)) == text, "run `.venv-frameworks/bin/python -m tests.conformance`"


BROKEN = {
    "django": (
        django("session_engine", "sessions_tests.tests.SessionMiddlewareTests"),
        "session_engine.EngineTests.test_store",
    ),
    "starlette": (SUITES["starlette"], "tests.middleware.test_session.test_session_cookie[asyncio]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_sessions_that_lose_a_field_fail(name, tmp_path):
    suite, test = BROKEN[name]
    ran = run(name, tmp_path, sessions="broken", suite=suite)
    assert f"{test} fails, and is not in the list" in complaints(ran, Listed(name).all.keys())


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"fails"}, []),
        (set(), ["fails fails, and is not in the list"]),
        ({"fails", "passes"}, ["passes is in the list, and passes"]),
        ({"fails", "gone"}, ["gone is in the list, and does not run"]),
    ],
)
def test_a_list_is_wrong_where_it_is_not_what_fails(named, said):
    assert complaints(Ran({"fails", "passes"}, {"fails"}), named) == said
