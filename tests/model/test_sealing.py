"""Sealing: R-50 to R-57 and B-02 to B-04 of the requirements, each under its own name.

R-54 (a copy replayed after logout) and R-57 (bytes in a store) are of those who keep what is sealed; here is that a
sealed value can be bound to a session, and that reading one runs nothing.
"""

import ast
import base64
import hmac
import inspect
import itertools
import json
import os
import pickle
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coatcheck
from coatcheck.errors import ConfigurationError, DecodeError
from coatcheck.model import sealing
from coatcheck.model.sealing import OVERHEAD, RANDOM_BYTES, Opened, Sealer, from_text, to_text

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NEW, MID, OLD = b"n" * 32, b"m" * 32, b"o" * 32
RANDOM = bytes(range(RANDOM_BYTES))
DATA = b'{"user": "frodo"}'
MESSAGE = "the sealed value can't be opened"


def sealer(*secrets, purpose="client keys", name="__Host-session"):
    return Sealer(secrets or (NEW,), purpose=purpose, name=name)


def by_hand(secret, data, random_bytes, *bound):
    """The format as the module's docstring tells it, from HMAC and AES-GCM alone (RFC 5869)."""

    def framed(*parts):
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def expanded(key, info, size):
        block = derived = b""
        while len(derived) < size:
            block = hmac.digest(key, block + info + bytes([len(derived) // 32 + 1]), "sha256")
            derived += block
        return derived[:size]

    own = (b"\x01", b"client keys", b"__Host-session")
    extracted = hmac.digest(bytes(32), secret, "sha256")
    root = expanded(extracted, framed(b"coatcheck 1 sealing", *own), 32)
    derived = expanded(root, random_bytes, 44)
    sealed = AESGCM(derived[:32]).encrypt(derived[32:], data, framed(*own, *bound))
    return b"\x01" + random_bytes + sealed


def refused(open_, sealed, **bound):
    """The error of opening it, which must be the one that there is."""
    with pytest.raises(DecodeError) as caught:
        open_(sealed, **bound)
    assert type(caught.value) is DecodeError
    assert str(caught.value) == MESSAGE
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


@patient
@given(
    st.binary(max_size=300), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES), st.lists(st.binary())
)
def test_what_was_sealed_comes_back(data, random_bytes, bound):
    sealed = sealer().seal(data, random_bytes, bound_to=bound)
    assert len(sealed) == len(data) + OVERHEAD
    assert sealer().open(sealed, bound_to=bound) == Opened(data, current=True)
    assert from_text(to_text(sealed).encode()) == sealed


def test_the_format_is_the_documented_one():
    sealed = sealer().seal(DATA, RANDOM, bound_to=[b"key", b"theme"])
    assert sealed == by_hand(NEW, DATA, RANDOM, b"key", b"theme")


def test_r50_one_flipped_bit_of_any_byte_is_refused_with_one_and_the_same_error():
    sealed = sealer().seal(DATA, RANDOM)
    for at, bit in itertools.product(range(len(sealed)), range(8)):
        flipped = bytearray(sealed)
        flipped[at] ^= 1 << bit
        refused(sealer().open, bytes(flipped))


def test_r50_every_truncation_and_every_addition_is_refused_with_the_same_error():
    sealed = sealer().seal(DATA, RANDOM)
    for size in range(len(sealed)):
        refused(sealer().open, sealed[:size])
        refused(sealer().open, sealed[size + 1 :])
    refused(sealer().open, sealed + b"\0")


@pytest.mark.parametrize(
    "other",
    [
        sealer(OLD),
        sealer(name="__Host-other"),
        sealer(purpose="field"),
        sealer(purpose="client keys_", name="_Host-session"),
        sealer(purpose="", name="client keys__Host-session"),
    ],
    ids=["key", "name", "purpose", "moved border", "joined"],
)
def test_r50_a_value_from_another_key_cookie_or_purpose_is_refused_with_the_same_error(other):
    refused(sealer().open, other.seal(DATA, RANDOM))


def test_r50_a_value_of_another_session_is_refused_with_the_same_error():
    sealed = sealer().seal(DATA, RANDOM, bound_to=[b"session 1", b"theme"])
    assert sealer().open(sealed, bound_to=[b"session 1", b"theme"]).data == DATA
    for bound in (
        [b"session 2", b"theme"],
        [b"session 1"],
        [b"session 1theme"],
        [b"session 1t", b"heme"],
        [],
    ):
        refused(sealer().open, sealed, bound_to=bound)


def test_r50_what_is_wrong_with_a_value_does_not_show_in_the_time_it_takes():
    """Each secret of the ring is tried to the end, whichever bit is wrong: counted, not measured."""
    ring = sealer(NEW, MID, OLD)
    sealed = ring.seal(DATA, RANDOM)
    steps = []
    for at in (1, RANDOM_BYTES, RANDOM_BYTES + 1, len(sealed) - 17, len(sealed) - 1):
        flipped = bytearray(sealed)
        flipped[at] ^= 1
        derived = []
        original = sealing._message_key
        try:
            sealing._message_key = lambda *args: derived.append(1) or original(*args)  # noqa: B023 - called below
            refused(ring.open, bytes(flipped))
        finally:
            sealing._message_key = original
        steps.append(len(derived))
    assert steps == [3, 3, 3, 3, 3]


def test_r51_there_is_no_second_way_of_reading():
    """No decoder stands in the module but one: no json, pickle, eval, nor an `except` that goes on to another."""
    tree = ast.parse(inspect.getsource(sealing))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not {name for name in imported if name.split(".")[0] in {"json", "pickle", "marshal", "msgspec"}}
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    assert [ast.unparse(handler) for handler in handlers] == ["except InvalidTag:\n    continue"]


def plain_forgeries():
    claim = json.dumps({"user": "admin"}).encode()
    yield "json", claim
    yield "base64", base64.b64encode(claim)
    yield (
        "alg none",
        base64.urlsafe_b64encode(b'{"alg":"none"}') + b"." + base64.urlsafe_b64encode(claim) + b".",
    )
    yield "version and json", b"\x01" + claim + b"\0" * 60
    yield "zero tag", b"\x01" + RANDOM + claim + b"\0" * 16
    yield "empty key", b"\x01" + RANDOM + AESGCM(b"\0" * 32).encrypt(b"\0" * 12, claim, b"")
    yield "pickle", pickle.dumps({"user": "admin"})
    yield "nothing", b""


@pytest.mark.parametrize("forged", [pytest.param(value, id=name) for name, value in plain_forgeries()])
def test_b02_what_nobody_sealed_is_refused_whatever_it_looks_like(forged):
    refused(sealer().open, forged)
    refused(sealer().open, forged + b"\0" * OVERHEAD)


def test_b02_an_empty_secret_or_none_at_all_is_no_ring():
    for secrets in ([], [b""], [NEW, b""]):
        with pytest.raises(ConfigurationError):
            Sealer(secrets, purpose="p", name="n")


@patient
@given(st.binary(max_size=200))
def test_b02_any_bytes_are_refused_and_raise_nothing_else(noise):
    refused(sealer().open, noise)
    refused(sealer().open, b"\x01" + noise)
    with suppress(DecodeError):
        assert to_text(from_text(noise)).encode() == noise


def test_b03_equal_blocks_give_no_equal_blocks():
    sealed = sealer().seal(b"sixteen bytes ok" * 64, RANDOM)
    blocks = [sealed[at : at + 16] for at in range(1 + RANDOM_BYTES, len(sealed) - 31, 16)]
    assert len(blocks) == 64
    assert len(set(blocks)) == len(blocks)


def test_b03_equal_values_give_different_sealed_values_with_other_random_bytes():
    first, second = (sealer().seal(DATA, bytes([n]) * RANDOM_BYTES) for n in (1, 2))
    assert first[1 + RANDOM_BYTES :] != second[1 + RANDOM_BYTES :]


def keys_and_nonces(count):
    make = random.Random(count).randbytes
    roots = sealer()._roots
    return {sealing._message_key(roots[0], make(RANDOM_BYTES)) for _ in range(count)}


def test_r52_no_nonce_comes_twice_under_one_key():
    """2^14 messages each have a key of their own, not only a nonce; the soak test does 2^20."""
    pairs = keys_and_nonces(1 << 14)
    assert len({key for key, _ in pairs}) == 1 << 14


@pytest.mark.soak
def test_r52_no_nonce_comes_twice_under_one_key_in_a_million():
    pairs = keys_and_nonces(1 << 20)
    assert len({key for key, _ in pairs}) == 1 << 20


def test_r52_the_random_bytes_are_asked_for_and_their_number_is_checked():
    for wrong in (b"", bytes(12), bytes(RANDOM_BYTES - 1), bytes(RANDOM_BYTES + 1)):
        with pytest.raises(ValueError, match="24 random bytes"):
            sealer().seal(DATA, wrong)


def test_r53_the_first_secret_seals_and_the_others_only_open():
    sealed = sealer(NEW, MID, OLD).seal(DATA, RANDOM)
    assert sealer(NEW).open(sealed) == Opened(DATA, current=True)
    assert sealer(OLD, NEW).open(sealed) == Opened(DATA, current=False)
    older = sealer(OLD).seal(DATA, RANDOM)
    assert sealer(NEW, MID, OLD).open(older) == Opened(DATA, current=False)


def test_r53_dropping_a_secret_ends_what_it_sealed():
    refused(sealer(NEW, MID).open, sealer(OLD).seal(DATA, RANDOM))


def test_b04_the_ring_is_used_from_its_newest_end():
    sealed = sealer(NEW, MID, OLD).seal(DATA, RANDOM)
    assert sealer(NEW).open(sealed).data == DATA
    refused(sealer(MID).open, sealed)
    refused(sealer(OLD).open, sealed)


def test_r54_a_value_can_be_bound_to_a_session_and_its_limit():
    key, limit = os.urandom(16), int(time.time()).to_bytes(8, "big")
    sealed = sealer().seal(DATA, RANDOM, bound_to=[key, limit])
    assert sealer().open(sealed, bound_to=[key, limit]).data == DATA
    refused(sealer().open, sealed, bound_to=[key, bytes(8)])


@pytest.mark.parametrize("version", [version for version in range(256) if version != 1])
def test_r55_any_version_but_the_one_that_there_is_is_refused(version):
    refused(sealer().open, bytes([version]) + sealer().seal(DATA, RANDOM)[1:])


def test_r56_nothing_secret_is_compared_with_equals():
    """The tag is compared by the library. What is compared here is the version, and text with its own second spelling."""
    tree = ast.parse(inspect.getsource(sealing))
    compared = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq)
    }
    assert compared == {
        "len(random) != RANDOM_BYTES",
        "sealed[:1] == _VERSION",
        "len(text) % 4 != 1",
        "to_text(raw).encode() == text",
    }


@pytest.mark.promise("19")
def test_r57_opening_runs_nothing_that_was_put_in(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        evil = pickle.dumps(Evil(), protocol)
        refused(sealer().open, evil)
        assert sealer().open(sealer().seal(evil, RANDOM)).data == evil
    assert not (tmp_path / "ran").exists()


def test_no_secret_shows_in_the_repr():
    shown = repr(sealer(NEW, OLD))
    assert shown == "<Sealer with 2 secrets>"
    assert not hasattr(sealer(), "__dict__")


@pytest.mark.parametrize("text", [b"AB", b"AA=", b"A", b"AA\n", b"AA AA", b"A+/A", "Ã¤".encode(), b"AAF"])
def test_text_has_one_spelling(text):
    refused(from_text, text)


def test_the_library_is_imported_only_when_something_is_sealed():
    program = (
        "import sys, coatcheck, coatcheck.model.sealing as sealing\n"
        "assert not [name for name in sys.modules if name.startswith('cryptography')]\n"
        "sealing.Sealer([b'x' * 32], purpose='p', name='n').seal(b'', bytes(24))\n"
        "assert 'cryptography' in sys.modules\n"
    )
    path = str(Path(coatcheck.__file__).parent.parent)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": path}, timeout=60)
