"""A warning where cookies go over plain HTTP."""

from __future__ import annotations

import warnings

import pytest

from coatcheck import InsecureTransportWarning


@pytest.mark.promise("H")
def test_the_first_cookie_on_plain_http_warns_and_names_the_setting(make):
    sessions = make()
    for _ in range(2):
        session = sessions.open(b"")
        session["a"] = 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            sessions.close(session, secure=False)
        if caught:
            (warning,) = caught
            assert warning.category is InsecureTransportWarning
            assert "insecure_http=True" in str(warning.message)
            assert "X-Forwarded-Proto" in str(warning.message)
        assert bool(caught) is (_ == 0)


@pytest.mark.parametrize("options", [{"insecure_http": True}, {}], ids=["insecure_http", "https"])
def test_where_it_is_meant_or_secure_nothing_warns(make, options):
    sessions = make(**options)
    session = sessions.open(b"")
    session["a"] = 1
    sessions.close(session, secure=not options)


def test_a_response_without_a_cookie_of_ours_does_not_warn(make):
    sessions = make()
    session = sessions.open(b"")
    session.get("a")
    sessions.close(session, secure=False)
