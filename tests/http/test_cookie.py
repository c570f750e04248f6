from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coatcheck.errors import ConfigurationError, TooLarge
from coatcheck.http.cookie import CookieTemplate, values_of

pytestmark = pytest.mark.promise("H")

NAME = b"__Host-session"


def plainly(header: bytes, name: bytes) -> list[bytes]:
    """What RFC 6265bis and our rules say, written down without a thought for speed."""
    pairs = [part.partition(b"=") for part in header.split(b";")]
    return [value.strip(b" \t") for own, equals, value in pairs if equals and own.strip(b" \t") == name]


# Reading


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", []),
        (b"sid=A", [b"A"]),
        (b"sid=A;", [b"A"]),
        (b";sid=A;", [b"A"]),
        (b"a=1; sid=A; b=2", [b"A"]),
        (b"a=1;sid=A;b=2", [b"A"]),
        (b" \t sid \t = \t A \t ; b=2", [b"A"]),
        (b"sid=", [b""]),
        (b"sid=;sid=A", [b"", b"A"]),
        (b"sid", []),
        (b"sid;sid=A", [b"A"]),
        (b"a=1", []),
        (b"sid==A=", [b"=A="]),
        (b"sid=a b\tc", [b"a b\tc"]),
    ],
)
def test_the_values_of_the_cookies_of_a_name_are_found(header, expected):
    assert values_of(header, b"sid") == expected


def test_several_cookies_of_the_name_come_in_their_order():
    assert values_of(b"sid=A; x=1; sid=B; sid=A", b"sid") == [b"A", b"B", b"A"]


def test_other_names_that_contain_the_name_are_other_cookies():
    assert values_of(b"xsid=1; sid2=2; sid.x=3; my sid=4; a=sid; b=sid=5; sid=A", b"sid") == [b"A"]


def test_names_are_compared_byte_for_byte():
    assert values_of(b"SID=1; Sid=2; sid=A", b"sid") == [b"A"]
    assert values_of(b"__host-session=1; __HOST-SESSION=2", NAME) == []


_piece = st.sampled_from(
    [
        b"sid",
        b"sid=",
        b"=",
        b";",
        b" ",
        b"\t",
        b"\n",
        b'"',
        b"\\",
        b",",
        b"\x00",
        b"\x85",
        b"\xa0",
        b"x",
        b"s",
        b"si",
    ]
)


@pytest.mark.promise("22")
@settings(max_examples=300)
@given(st.one_of(st.binary(), st.lists(_piece, max_size=20).map(b"".join)))
@example(b"sid=A;sid =B; sid= C ;\tsid=D")
def test_any_bytes_are_read_as_the_rules_say_and_never_raise(header):
    assert values_of(header, b"sid") == plainly(header, b"sid")


@pytest.mark.parametrize(
    "neighbour",
    [
        b"{bad}",
        b"bad",
        b"=bad",
        b"[]=1",
        b"\xff\xfe=\xff",
        "é=ü".encode(),
        b"a\x00b=\x00",
        b"a=\x01\x02",
        b"a b c=1",
        b'"',
        b'a="',
        b'a="\\"',
        b'a="\\101"',
        b"$Version=1",
        b"a=" + b'\\"' * 1000,
        b"a=1,b=2",
        b"sid:",
        b"\r\nSet-Cookie: a=b",
    ],
    ids=lambda neighbour: repr(neighbour)[:24],
)
def test_one_bad_neighbour_costs_nothing(neighbour):
    # CVE-2024-7592 and the standard library's habit to drop every cookie for one that it can't read.
    for header in (neighbour + b"; sid=A", b"sid=A; " + neighbour, neighbour + b"; sid=A; " + neighbour):
        assert values_of(header, b"sid") == [b"A"]


def test_quotes_do_not_hold_a_value_together():
    # The cookie sandwich: some parsers swallow everything up to the closing quote.
    assert values_of(b'$Version=1; sid="A; x=1; sid=B"', b"sid") == [b'"A', b'B"']


def test_nothing_is_unquoted_or_unescaped():
    assert values_of(rb'sid="A"; sid="\101"; sid=%41; sid=\A', b"sid") == [
        rb'"A"',
        rb'"\101"',
        rb"%41",
        rb"\A",
    ]


def test_a_nameless_cookie_can_not_pretend_to_be_ours():
    # Werkzeug CVE-2023-23934
    assert values_of(b"=sid=EVIL; sid=GOOD", b"sid") == [b"GOOD"]
    assert values_of(b"=sid=EVIL", b"sid") == []
    assert values_of(b" = sid=EVIL; ==sid=EVIL", b"sid") == []


@pytest.mark.parametrize(
    "invisible",
    [
        b"\xa0",
        b"\x85",
        b"\xc2\xa0",
        b"\xc2\x85",
        b"\xe2\x80\x80",
        b"\xe2\x80\x8b",
        b"\xe3\x80\x80",
        b"\x0a",
        b"\x0b",
        b"\x0c",
        b"\x0d",
        b"\x1c",
        b"\x1d",
        b"\x1e",
        b"\x1f",
        b"\x00",
        b"\x7f",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
    ],
)
def test_only_space_and_tab_are_trimmed_so_that_no_prefix_is_forged(invisible):
    assert values_of(invisible + NAME + b"=EVIL", NAME) == []
    assert values_of(NAME + invisible + b"=EVIL", NAME) == []
    assert values_of(b"a=1; " + invisible + NAME + b"=EVIL; " + NAME + b"=GOOD", NAME) == [b"GOOD"]
    assert values_of(NAME + b"=A" + invisible, NAME) == [b"A" + invisible]


def test_what_a_server_joined_with_commas_is_one_value_and_not_two():
    assert values_of(b"sid=A,sid=B", b"sid") == [b"A,sid=B"]
    assert values_of(b"a=1, sid=A", b"sid") == []


@pytest.mark.parametrize("value", [b"../../x", b"*", b"{x}", b"?", b"[", b"a\nb", b"\x00", b"x" * 300])
def test_a_value_is_only_handed_over(value):
    assert values_of(b"sid=" + value, b"sid") == [value]


ADVERSARIAL = [
    *(b"; ", b"sid; ", b"sid=; ", b"sid=x;", b"x sid;", b"sid ", b" ", b"\t ;", b"=", b'\\"', b'"\\";', b","),
    *(b"si", b"sid=sid=sid", b" " * 500 + b"sid;", b";" + b"s" * 500, b";sid" + b"\t" * 500),
]


class Counted(bytes):
    """Counts the bytes that are looked at."""

    looked_at = 0

    def find(self, sub, start=0, end=None):
        at = super().find(sub, start, len(self) if end is None else end)
        self.looked_at += (len(self) if at < 0 else at) - start + len(sub)
        return at

    def rfind(self, sub, start=0, end=None):
        end = len(self) if end is None else end
        at = super().rfind(sub, start, end)
        self.looked_at += end - max(at, start)
        return at

    def __getitem__(self, index):
        part = super().__getitem__(index)
        self.looked_at += len(part) if isinstance(index, slice) else 1
        return part

    def split(self, *_):
        raise AssertionError("count here what it looks at")

    partition = rpartition = rsplit = replace = index = rindex = count = strip = translate = split


@pytest.mark.parametrize("piece", ADVERSARIAL, ids=range(len(ADVERSARIAL)))
def test_no_byte_of_a_header_is_looked_at_more_than_a_few_times(piece):
    header = Counted(b"a=" + piece * (65_536 // len(piece)))
    assert values_of(header, b"sid") == plainly(bytes(header), b"sid")
    assert len(header) <= header.looked_at < 8 * len(header)


@pytest.mark.parametrize("piece", [b"sid;", b'\\"', b"si"])
def test_the_time_is_linear_in_the_header_up_to_a_megabyte(piece):
    # Four times the header, four times the time; what is quadratic takes sixteen times as long.
    quarter, whole = ((b"a=" + piece * (size // len(piece))) for size in (1 << 18, 1 << 20))
    took = {quarter: [], whole: []}
    for _ in range(3):
        for header, times in took.items():
            started = time.process_time()
            values_of(header, b"sid")
            times.append(time.process_time() - started)
    assert min(took[whole]) < 9 * min(took[quarter]) + 0.005


# Writing


def attributes(header: str) -> list[str]:
    return header.split("; ")[1:]


def lasting(header: str) -> list[str]:
    return [part for part in attributes(header) if not part.startswith(("Max-Age=", "Expires="))]


DEFAULT = CookieTemplate(name="__Host-session", secure=True)


def test_the_default_is_host_only_secure_http_only_and_lax():
    header = DEFAULT.set("VALUE", max_age=None)
    assert header.startswith("__Host-session=VALUE; ")
    assert sorted(attributes(header)) == ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]


def test_a_lasting_cookie_says_for_how_many_seconds():
    assert "Max-Age=7776000" in attributes(DEFAULT.set("VALUE", max_age=7_776_000))
    assert "Max-Age=0" in attributes(DEFAULT.set("VALUE", max_age=0))
    assert not any(part.startswith("Max-Age") for part in attributes(DEFAULT.set("VALUE", max_age=None)))


def test_clearing_empties_the_cookie_and_ends_it_in_the_past():
    header = DEFAULT.clear()
    assert header.startswith("__Host-session=; ")
    assert "Max-Age=0" in attributes(header)
    expires = next(part for part in attributes(header) if part.startswith("Expires="))
    assert parsedate_to_datetime(expires.removeprefix("Expires=")).timestamp() == 0


GOOD = [
    {"name": "__Host-session", "secure": True},
    {"name": "__Host-Http-session", "secure": True},
    {"name": "__Http-session", "secure": True, "path": "/app"},
    {"name": "__Secure-session", "secure": True, "path": "/app", "domain": "example.com"},
    {"name": "session", "secure": True, "domain": ".example.com", "samesite": "Strict"},
    {"name": "session", "secure": True, "samesite": "None", "partitioned": True},
    {"name": "session", "secure": False},
    {"name": "session", "secure": False, "path": "/a b/%C3%A9/~!$&'()*+=:@", "domain": "sub-1.example.co.uk"},
    {"name": "!#$%&'*+.^_`|~09azAZ-", "secure": False, "samesite": "Strict"},
    {"name": "host-session", "secure": False, "domain": "localhost"},
    {"name": "my__Host-session", "secure": False, "domain": "127.0.0.1"},
    {"name": "x" * 256, "secure": True, "path": "/" + "p" * 1023, "domain": "d" * 1024},
]


@pytest.mark.parametrize("settings", GOOD, ids=range(len(GOOD)))
def test_clearing_carries_the_attributes_of_setting(settings):
    template = CookieTemplate(**settings)
    assert lasting(template.set("v", max_age=5)) == lasting(template.clear())
    assert template.set("v", max_age=5).partition("=")[0] == template.clear().partition("=")[0]


@pytest.mark.parametrize("settings", GOOD, ids=range(len(GOOD)))
def test_each_attribute_is_there_once_and_only_if_it_was_asked_for(settings):
    template = CookieTemplate(**settings)
    expected = [
        "HttpOnly",
        f"Path={settings.get('path', '/')}",
        f"SameSite={settings.get('samesite', 'Lax')}",
    ]
    if "domain" in settings:
        expected.append(f"Domain={settings['domain']}")
    if settings["secure"]:
        expected.append("Secure")
    if settings.get("partitioned"):
        expected.append("Partitioned")
    for header in (template.set("v", max_age=None), template.clear()):
        assert sorted(lasting(header)) == sorted(expected)


BAD = [
    ({"name": "__Host-s", "secure": False}, "Secure"),
    ({"name": "__host-s", "secure": False}, "Secure"),
    ({"name": "__HOST-s", "secure": False}, "Secure"),
    ({"name": "__Secure-s", "secure": False}, "Secure"),
    ({"name": "__sEcUrE-s", "secure": False}, "Secure"),
    ({"name": "__Http-s", "secure": False}, "Secure"),
    ({"name": "__HTTP-s", "secure": False}, "Secure"),
    ({"name": "__Host-Http-s", "secure": False}, "Secure"),
    ({"name": "__Host-s", "secure": True, "domain": "example.com"}, "__Secure-session"),
    ({"name": "__HOST-s", "secure": True, "domain": "example.com"}, "__Secure-session"),
    ({"name": "__Host-s", "secure": True, "path": "/app"}, "__Secure-session"),
    ({"name": "__host-s", "secure": True, "path": "//"}, "__Secure-session"),
    ({"name": "__Host-Http-s", "secure": True, "path": "/app"}, "__Secure-session"),
    ({"name": "s", "secure": False, "samesite": "None"}, "SameSite=None"),
    ({"name": "s", "secure": False, "partitioned": True}, "Partitioned"),
    ({"name": "s", "secure": True, "samesite": "lax"}, "'Lax'"),
    ({"name": "s", "secure": True, "samesite": ""}, "'Lax'"),
    ({"name": "s", "secure": True, "samesite": None}, "'Lax'"),
    ({"name": "", "secure": True}, "name"),
    ({"name": "a b", "secure": True}, "name"),
    ({"name": "a=b", "secure": True}, "name"),
    ({"name": "a,b", "secure": True}, "name"),
    ({"name": 'a"b', "secure": True}, "name"),
    ({"name": "x" * 257, "secure": True}, "name"),
    ({"name": "s", "secure": True, "path": ""}, "path"),
    ({"name": "s", "secure": True, "path": "app"}, "path"),
    ({"name": "s", "secure": True, "path": "/" + "p" * 1024}, "path"),
    ({"name": "s", "secure": True, "domain": ""}, "domain"),
    ({"name": "s", "secure": True, "domain": "."}, "domain"),
    ({"name": "s", "secure": True, "domain": "example.com/"}, "domain"),
    ({"name": "s", "secure": True, "domain": "http://example.com"}, "domain"),
    ({"name": "s", "secure": True, "domain": "a,b"}, "domain"),
    ({"name": "s", "secure": True, "domain": "a b"}, "domain"),
    ({"name": "s", "secure": True, "domain": "d" * 1025}, "domain"),
]


@pytest.mark.parametrize(("settings", "told"), BAD, ids=range(len(BAD)))
def test_what_browsers_do_not_take_together_is_refused_and_the_message_says_what_to_write(settings, told):
    with pytest.raises(ConfigurationError) as caught:
        CookieTemplate(**settings)
    assert told in str(caught.value)


@pytest.mark.parametrize("attribute", ["name", "path", "domain", "samesite"])
@pytest.mark.parametrize("breaking", ["\r", "\n", "\r\n", "\0", ";", "é", "\ud800", "\x7f", "\x1b", "\u2028"])
def test_what_could_break_the_header_is_refused_in_every_attribute(attribute, breaking):
    # CPython CVE-2026-0672, Tornado GHSA-78cv-mqj4-43f7
    good = {"name": "session", "path": "/app", "domain": "example.com", "samesite": "Lax"}
    value = good[attribute]
    for bad in (
        value + breaking,
        value[:2] + breaking + value[2:],
        value[0] + breaking,
        value + breaking + "X: y",
    ):
        with pytest.raises(ConfigurationError):
            CookieTemplate(**{**good, attribute: bad}, secure=True)


def test_name_and_value_fill_4096_bytes_and_not_one_more():
    room = 4096 - len("__Host-session")
    assert DEFAULT.set("v" * room, max_age=None).startswith("__Host-session=vvv")
    with pytest.raises(TooLarge) as caught:
        DEFAULT.set("v" * (room + 1), max_age=None)
    assert (caught.value.size, caught.value.limit) == (4097, 4096)
    assert "vvv" not in str(caught.value)


def test_a_template_shows_the_name_and_the_attributes():
    assert repr(DEFAULT) == "<CookieTemplate __Host-session; Path=/; Secure; HttpOnly; SameSite=Lax>"
