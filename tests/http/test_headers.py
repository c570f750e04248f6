from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.http.headers import add_vary, amend, forbid_storing

pytestmark = pytest.mark.promise("H")

COOKIE = "__Host-session=new; Path=/; Secure; HttpOnly; SameSite=Lax"


def changed(*headers, set_cookie=None, vary="Cookie"):
    return amend(headers, set_cookie, vary=vary)


def of(headers, name):
    return [value for other, value in headers if other.lower() == name]


def test_a_response_that_has_nothing_to_say_keeps_its_headers_as_they_are():
    headers = [("Vary", "Accept"), ("Set-Cookie", "a=1"), ("Cache-Control", "public"), ("set-cookie", "b=2")]
    assert changed(*headers, vary=None) == headers
    assert changed(*headers[1:], vary=None) == headers[1:]


def test_a_response_that_looked_at_its_session_varies_by_cookie_and_may_be_cached():
    headers = changed(("Content-Type", "text/html"), ("Cache-Control", "private, max-age=60"))
    assert headers == [
        ("Content-Type", "text/html"),
        ("Cache-Control", "private, max-age=60"),
        ("Vary", "Cookie"),
    ]


def test_a_response_that_varies_already_varies_by_cookie_in_the_same_line():
    assert changed(("Vary", "Accept"), ("X-Other", "stays")) == [
        ("X-Other", "stays"),
        ("Vary", "Accept, Cookie"),
    ]


def test_a_response_with_our_cookie_is_not_stored_by_any_cache():
    headers = changed(set_cookie=COOKIE)
    assert sorted(headers) == [
        ("Cache-Control", "no-store"),
        ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("Set-Cookie", COOKIE),
        ("Vary", "Cookie"),
    ]


def test_our_cookie_goes_out_once_and_last_beside_the_application_s_own():
    headers = changed(
        ("Set-Cookie", "theme=dark"),
        ("Set-Cookie", "__Host-session=planted; Path=/"),
        ("set-cookie", " __Host-session=again"),
        ("Set-Cookie", "__Host-session2=other"),
        ("X-Note", "__Host-session=is no cookie here"),
        ("Set-Cookie", "__host-session=another case is another cookie"),
        set_cookie=COOKIE,
    )
    assert of(headers, "set-cookie") == [
        "theme=dark",
        "__Host-session2=other",
        "__host-session=another case is another cookie",
        COOKIE,
    ]
    assert of(headers, "x-note") == ["__Host-session=is no cookie here"]


def test_without_a_cookie_of_ours_the_application_s_cookies_stay():
    headers = changed(("Set-Cookie", "theme=dark"), ("Set-Cookie", "a=1"))
    assert of(headers, "set-cookie") == ["theme=dark", "a=1"]


def test_several_lines_become_one_and_none_of_them_is_lost():
    headers = changed(
        ("VARY", "Accept-Encoding"),
        ("X-Other", "stays"),
        ("vary", "Origin"),
        ("Cache-Control", "max-age=5"),
        ("cache-control", "must-revalidate"),
        set_cookie=COOKIE,
    )
    assert of(headers, "vary") == ["Accept-Encoding, Origin, Cookie"]
    assert of(headers, "cache-control") == ["max-age=5, must-revalidate, no-store"]
    assert of(headers, "x-other") == ["stays"]


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (None, "Cookie"),
        ("", "Cookie"),
        ("  ", "Cookie"),
        ("Accept", "Accept, Cookie"),
        ("Accept, Origin", "Accept, Origin, Cookie"),
        ("Cookie", "Cookie"),
        ("cookie", "cookie"),
        ("Accept ,COOKIE, Origin", "Accept ,COOKIE, Origin"),
        ("*", "*"),
        ("Accept, *", "Accept, *"),
        ("X-Cookie", "X-Cookie, Cookie"),
        ("Cookies", "Cookies, Cookie"),
    ],
)
def test_vary_names_the_field_once_in_any_case(existing, expected):
    assert add_vary(existing, "Cookie") == expected


@given(st.lists(st.sampled_from(["Accept", "Cookie", "COOKIE", "*", "Origin", " cookie "]), max_size=5))
def test_vary_never_loses_a_name_and_adds_ours_at_most_once(names):
    before = ",".join(names)
    after = add_vary(before, "Cookie")
    assert after.startswith(before)
    assert add_vary(after, "Cookie") == after
    added = [part.strip().lower() for part in after.split(",")].count("cookie") - before.lower().count(
        "cookie"
    )
    assert added in (0, 1)


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        (None, "no-store"),
        ("", "no-store"),
        ("private", "private, no-store"),
        ("no-cache, must-revalidate", "no-cache, must-revalidate, no-store"),
        ("public", "no-store"),
        ("Public, max-age=600", "max-age=600, no-store"),
        ("S-MaxAge=600, max-age=1", "max-age=1, no-store"),
        ("no-store", "no-store"),
        ("NO-STORE, private", "NO-STORE, private"),
        ("max-age=0, no-store", "max-age=0, no-store"),
        (" , ,private,, ", "private, no-store"),
        ("x-public", "x-public, no-store"),
    ],
)
def test_no_store_is_added_and_nothing_stricter_is_lost(existing, expected):
    assert forbid_storing(existing) == expected


def test_another_header_can_be_what_the_response_depends_on():
    assert of(changed(vary="X-Session"), "vary") == ["X-Session"]
