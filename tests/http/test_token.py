from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.errors import ConfigurationError
from coatcheck.http.token import Ring, Token, handle_of, key_of, secret_hash_of

pytestmark = pytest.mark.promise("15")

NEW = "UO7FIbsY7qm0bSo0bmE_pwa_v-MIgKEKFQtQT5DIGU8"
MID = "RiOlLkO9qgYpTzp307H5hzL-47uiiUJ_CGQJMOqsl5I"
OLD = "A6-m4KozfM5PAnvxkgM4uCDgt3xy7kAaXUBqOqu2F0Y"
NAME = "__Host-session"
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

RING = Ring(NEW, purpose=NAME)
TOKEN = Token(bytes(range(16)), bytes(range(100, 132)))
TEXT = RING.sign(TOKEN).encode()


def shortened(value):
    return repr(value)[:32]


selectors = st.binary(min_size=16, max_size=16)
secrets_of_tokens = st.binary(min_size=32, max_size=32)


# The grammar


@given(selectors, secrets_of_tokens)
def test_a_signed_token_is_verified_as_what_it_was(key, secret):
    token = RING.verify(RING.sign(Token(key, secret)).encode())
    assert (token.key, token.secret, token.secret_hash, token.current) == (
        key,
        secret,
        hashlib.sha256(secret).digest(),
        True,
    )


@given(selectors, secrets_of_tokens)
def test_a_token_is_86_characters_of_base64url(key, secret):
    assert re.fullmatch(r"[A-Za-z0-9_-]{86}", RING.sign(Token(key, secret)))


def test_a_token_has_only_one_spelling():
    accepted = [bytes([last]) for last in ALPHABET if RING.verify(TEXT[:-1] + bytes([last]))]
    assert accepted == [TEXT[-1:]]


def test_the_standard_alphabet_is_not_another_spelling():
    text = RING.sign(Token(b"\xfb\xff\xbf" * 5 + b"\xfb", bytes(32))).encode()
    assert b"-" in text
    assert b"_" in text
    assert RING.verify(text) is not None
    assert RING.verify(text.replace(b"-", b"+")) is None
    assert RING.verify(text.replace(b"_", b"/")) is None


@pytest.mark.promise("22")
@pytest.mark.parametrize(
    "text",
    [
        b"",
        TEXT + b"==",
        TEXT + b"\n",
        b"\n" + TEXT,
        b" " + TEXT,
        TEXT + b" ",
        b'"' + TEXT + b'"',
        TEXT[:-1],
        TEXT + b"A",
        TEXT + TEXT,
        TEXT[:-1] + b"\n",
        TEXT[:40] + b"\n" + TEXT[40:],
        TEXT[:40] + b"%" + TEXT[41:],
        TEXT[:40] + b"\xc0" + TEXT[41:],
        TEXT.swapcase(),
        TEXT.decode().encode("utf-16"),
    ],
)
def test_what_only_looks_like_a_token_is_refused(text):
    assert RING.verify(text) is None


@pytest.mark.promise("22")
@given(
    st.one_of(
        st.binary(),
        st.binary(min_size=86, max_size=86),
        st.from_regex(rb"[A-Za-z0-9_-]{85}[AQgw]", fullmatch=True),
        st.from_regex(rb"[A-Za-z0-9_-]{86}\n?", fullmatch=True),
    )
)
def test_what_we_did_not_sign_is_refused_whatever_bytes_it_is(text):
    assert RING.verify(text) is None


# The MAC


def test_one_bit_flipped_anywhere_in_the_text_is_refused():
    for at in range(len(TEXT)):
        for bit in range(8):
            flipped = TEXT[:at] + bytes([TEXT[at] ^ 1 << bit]) + TEXT[at + 1 :]
            assert RING.verify(flipped) is None, (at, bit)


def test_one_bit_flipped_in_selector_secret_or_mac_is_refused():
    raw = base64.urlsafe_b64decode(TEXT + b"==")
    assert len(raw) == 64
    for at in range(len(raw)):
        for bit in range(8):
            flipped = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            assert RING.verify(base64.urlsafe_b64encode(flipped).rstrip(b"=")) is None, (at, bit)


def test_a_token_taken_from_another_cookie_name_is_refused():
    assert Ring(NEW, purpose="__Host-admin").verify(TEXT) is None
    assert Ring(NEW, purpose="__host-session").verify(TEXT) is None


def test_a_token_signed_by_another_application_is_refused():
    assert Ring(OLD, purpose=NAME).verify(TEXT) is None


def test_a_token_whose_mac_is_made_with_the_bare_or_an_empty_secret_is_refused():
    body = base64.urlsafe_b64decode(TEXT + b"==")[:48]
    for secret in (NEW.encode(), b"", NAME.encode()):
        mac = hmac.digest(secret, body, "sha256")[:16]
        assert RING.verify(base64.urlsafe_b64encode(body + mac).rstrip(b"=")) is None


def test_the_mac_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(one, other):
        compared.append((one, other))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert Ring(NEW, purpose=NAME).verify(TEXT) is None
    assert len(compared) == 1


# The ring


def test_the_first_secret_signs_and_each_verifies():
    ring = Ring([NEW, MID, OLD], purpose=NAME)
    text = ring.sign(TOKEN).encode()
    assert Ring(NEW, purpose=NAME).verify(text) is not None
    assert Ring(MID, purpose=NAME).verify(text) is None
    assert Ring(OLD, purpose=NAME).verify(text) is None
    for secret in (NEW, MID, OLD):
        assert ring.verify(Ring(secret, purpose=NAME).sign(TOKEN).encode()) is not None


def test_only_what_the_newest_secret_signed_is_current():
    ring = Ring([NEW, MID, OLD], purpose=NAME)
    current = [
        ring.verify(Ring(secret, purpose=NAME).sign(TOKEN).encode()).current for secret in (NEW, MID, OLD)
    ]
    assert current == [True, False, False]


def test_signing_anew_keeps_selector_and_secret_so_that_parallel_responses_agree():
    ring = Ring([NEW, OLD], purpose=NAME)
    old = ring.verify(Ring(OLD, purpose=NAME).sign(TOKEN).encode())
    assert ring.sign(old) == ring.sign(TOKEN)


def test_the_hash_in_the_record_outlives_the_ring():
    old = Ring(OLD, purpose=NAME)
    assert (
        old.verify(old.sign(TOKEN).encode()).secret_hash == RING.verify(TEXT).secret_hash == TOKEN.secret_hash
    )
    assert secret_hash_of(TOKEN.secret) == hashlib.sha256(TOKEN.secret).digest()


def test_a_str_counts_as_its_utf8():
    assert Ring(NEW, purpose=NAME).sign(TOKEN) == Ring(NEW.encode(), purpose=NAME).sign(TOKEN)
    assert Ring([NEW], purpose=NAME).sign(TOKEN) == Ring((NEW,), purpose=NAME).sign(TOKEN)


@pytest.mark.promise("18")
def test_neither_a_token_nor_a_ring_shows_anything_secret():
    for thing in (TOKEN, RING, [TOKEN], Ring([NEW, OLD], purpose=NAME)):
        for shown in (repr(thing), str(thing), f"{thing}"):
            for secret in (
                NEW,
                OLD,
                TEXT.decode(),
                TOKEN.secret.hex(),
                repr(TOKEN.secret),
                TOKEN.secret_hash.hex(),
            ):
                assert secret not in shown
    assert repr(TOKEN) == "<Token of 000102030405060708090a0b0c0d0e0f>"
    assert repr(RING) == "<Ring of 1>"


# Secrets that are refused

GUESSABLE = [
    "change-me-change-me-change-me-change-me",
    "CHANGE_THIS_SECRET_KEY_PLEASE_CHANGE_THIS",
    "replace-me-replace-me-replace-me-replace-me",
    "super-secret-key-super-secret-key",
    "please-change-this-secret-key-super-secret\n",
    b"\tthe secret key of the app, please change it\r\n",
    "your-very-long-secret-key-goes-here-please",
    "my-flask-app-development-secret-key-for-testing",
    "insecure-default-session-cookie-signing-key",
    "password-password-password-password",
    "a" * 64,
    "0" * 32,
    "abc" * 20,
    " " * 40,
    b"\0" * 64,
    b"\0\1\2\3" * 16,
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # Flask's documentation
    "192B9BDD22AB9ED4D12E236C78AFCB9A393EC15F71BBF5DC987D54727823BCBF",
    b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",  # FastAPI's
]
SHORT = ["", b"", "short", NEW[:31], b"\xff" * 31]
NO_SECRET = [None, 5, [], (), [None], [5], ..., "\udcff" * 40, [NEW, "\ud800" * 40]]


@pytest.mark.parametrize("secret", [*GUESSABLE, *SHORT, *NO_SECRET], ids=shortened)
def test_a_bad_secret_is_refused_and_the_message_says_how_to_make_a_good_one(secret):
    with pytest.raises(ConfigurationError) as caught:
        Ring(secret, purpose=NAME)
    assert "coatcheck secret" in str(caught.value)
    assert "secrets.token_urlsafe(32)" in str(caught.value)


@pytest.mark.parametrize("secret", [*GUESSABLE, *SHORT[2:]], ids=shortened)
def test_one_bad_secret_among_good_ones_is_refused(secret):
    with pytest.raises(ConfigurationError):
        Ring([NEW, secret], purpose=NAME)


@pytest.mark.promise("18")
@pytest.mark.parametrize(
    "secret", [NEW[:31], "quite-secret-but-too-short", b"my secret dog is rex", "\ud800" + NEW]
)
def test_the_refusal_does_not_repeat_the_secret(secret):
    with pytest.raises(ConfigurationError) as caught:
        Ring(secret, purpose=NAME)
    for shown in ("".join(traceback.format_exception(caught.value)), repr(caught.value)):
        assert "secret-but" not in shown
        assert "rex" not in shown
        assert NEW[:31] not in shown
    cause = caught.value.__cause__
    assert cause is None or NEW not in repr(cause)


# Secrets that are not

DICE = random.Random(2026)
GOOD = {
    "secrets.token_urlsafe(32)": lambda: base64.urlsafe_b64encode(DICE.randbytes(32)).rstrip(b"=").decode(),
    "secrets.token_hex(32)": lambda: DICE.randbytes(32).hex(),
    "secrets.token_hex(16)": lambda: DICE.randbytes(16).hex(),
    "secrets.token_bytes(32)": lambda: DICE.randbytes(32),
    "os.urandom(64)": lambda: DICE.randbytes(64),
    "openssl rand -base64 48": lambda: base64.b64encode(DICE.randbytes(48)).decode(),
    "openssl rand -base64 32, with its line end": lambda: base64.b64encode(DICE.randbytes(32)) + b"\n",
}


@pytest.mark.parametrize("way", GOOD)
def test_a_good_secret_is_never_refused(way):
    for _ in range(10_000):
        Ring(GOOD[way](), purpose=NAME)


def test_a_sentence_that_nobody_published_is_good_enough():
    Ring("seven purple walruses argue about tax law at noon", purpose=NAME)


# The next secret of a periodic rotation


@pytest.mark.promise("14")
def test_every_request_derives_the_same_successor():
    again = Ring(NEW, purpose=NAME).verify(TEXT)
    one, other = RING.successor(TOKEN), Ring([NEW, OLD], purpose=NAME).successor(again)
    assert (one.key, one.secret) == (other.key, other.secret)
    assert RING.sign(one) == RING.sign(other)


@pytest.mark.promise("14")
def test_a_successor_keeps_the_key_and_changes_the_secret():
    first = RING.successor(TOKEN)
    second = RING.successor(first)
    assert first.key == second.key == TOKEN.key
    assert len({TOKEN.secret, first.secret, second.secret}) == 3
    assert len(first.secret) == 32


def test_a_successor_can_not_be_derived_without_the_ring_or_without_the_token():
    assert Ring(OLD, purpose=NAME).successor(TOKEN).secret != RING.successor(TOKEN).secret
    for other in (Token(TOKEN.key, bytes(32)), Token(bytes(16), TOKEN.secret)):
        assert RING.successor(other).secret != RING.successor(TOKEN).secret


def test_the_newest_secret_derives_the_successor():
    ring = Ring([NEW, OLD], purpose=NAME)
    assert ring.successor(TOKEN).secret == RING.successor(TOKEN).secret


@pytest.mark.promise("14")
def test_a_successor_is_found_again_under_every_secret_of_the_ring():
    ring = Ring([NEW, MID, OLD], purpose=NAME)
    for secret in (NEW, MID, OLD):
        expected = Ring(secret, purpose=NAME).successor(TOKEN)
        found = ring.successor_with(TOKEN, expected.secret_hash)
        assert (found.key, found.secret) == (expected.key, expected.secret)


def test_a_hash_that_no_successor_has_finds_none():
    stranger = Ring(OLD, purpose=NAME).successor(TOKEN)
    assert RING.successor_with(TOKEN, stranger.secret_hash) is None
    assert RING.successor_with(TOKEN, TOKEN.secret_hash) is None


# Handles


@given(selectors)
def test_a_handle_names_one_key(key):
    handle = handle_of(key)
    assert re.fullmatch(r"[0-9a-f]{32}", handle)
    assert key_of(handle) == key


@pytest.mark.parametrize(
    "handle",
    [
        "",
        "a" * 31,
        "a" * 33,
        "A" * 32,
        "g" * 32,
        "a" * 32 + "\n",
        " " + "a" * 32,
        "\N{FULLWIDTH DIGIT ONE}" * 32,
        "../../../../../../../etc/passwd",
        TEXT.decode(),
        "{" + "a" * 30 + "}",
    ],
)
def test_what_is_no_handle_names_no_key(handle):
    assert key_of(handle) is None


@given(selectors, secrets_of_tokens)
def test_a_handle_opens_nothing(key, secret):
    handle = handle_of(key).encode()
    assert RING.verify(handle) is None
    assert RING.verify(handle.ljust(86, b"A")) is None
