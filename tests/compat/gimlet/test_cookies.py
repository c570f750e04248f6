"""The cookies: sealed and bound ([FIX] 1.8), gimlet's own read ([KEEP] 1.8), and nobody locked out by a change."""

import base64
import datetime as dt
import hmac
import pickle
import struct
import uuid
import warnings
import zlib
from datetime import timedelta
from hashlib import sha1

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coatcheck.compat.gimlet.crypto import Crypter
from coatcheck.compat.gimlet.factories import SideBySideWarning, session_factory_factory
from coatcheck.compat.gimlet.serializer import BadSignature, URLSafeCookieSerializer
from coatcheck.compat.gimlet.session import SessionChannel
from coatcheck.errors import ConfigurationError, DecodeError, NotStorable, TooLarge
from coatcheck.model import codec
from coatcheck.model.sealing import Sealer, from_text, to_text
from coatcheck.testing import ManualClock
from tests.compat.gimlet.browser import OTHER_SECRET, SECRET, set_cookies
from tests.compat.gimlet.conftest import Visitor, factory, put
from tests.compat.gimlet.test_data import unpadded
from tests.compat.test_pickles import ATTACKS

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEY, OTHER_KEY = "00" * 31 + "01", "00" * 31 + "02"
DAY = 24 * 60 * 60


class Price:
    """Of an application that keeps cents by now."""

    def __reduce__(self):
        return in_cents, (7,)


def in_cents(cents):
    return cents


def old_cookie(data, secret=SECRET, key=None, created=1_700_000_000, pickled=None):
    """A cookie as gimlet writes it."""
    payload = struct.pack("<16si", b"\1" * 16, created) + (
        pickle.dumps(data, 3) if pickled is None else pickled
    )
    if key is not None:
        payload = Crypter(key).encrypt(payload)
    body = unpadded(payload)
    derived = sha1(b"itsdangerous" + b"signer" + secret.encode()).digest()
    return (body + b"." + unpadded(hmac.digest(derived, body, "sha1"))).decode()


def is_fresh(cookies, **options):
    """Whether such a visitor is a new one, and no error comes of him; then he gets new cookies."""
    visitor = Visitor(cookies, **options)
    was_new = visitor.visit(lambda session: session.new)
    assert visitor.visit(put(a=1)) is None
    assert visitor.visit(dict) == {"a": 1}
    return was_new


class TestSealed:
    def test_fix_no_pickle_is_in_a_new_cookie_and_nothing_in_it_can_be_read(self):
        visitor = Visitor()
        visitor.visit(put(user="frodo" * 10))
        for cookie in visitor.cookies.values():
            raw = from_text(cookie.encode())
            assert b"frodo" not in raw
            with pytest.raises(pickle.UnpicklingError):
                pickle.loads(raw)

    def test_fix_equal_blocks_do_not_show(self):
        """B-03: no ECB in what is newly written, with and without an encryption key."""
        for key in (None, KEY):
            visitor = Visitor(encryption_key=key)
            visitor.visit(put(a="0123456789abcdef" * 20))
            raw = from_text(visitor.cookies["gimlet-n"].encode())
            blocks = [raw[at : at + 16] for at in range(25, len(raw) - 16, 16)]
            assert len(set(blocks)) == len(blocks) > 20

    def test_fix_a_cookie_is_bound_to_its_channel_and_its_name(self):
        visitor = Visitor()
        visitor.visit(put(a=1))
        n, p = visitor.cookies["gimlet-n"], visitor.cookies["gimlet-p"]
        assert is_fresh({"gimlet-p": n, "gimlet-n": p})
        assert is_fresh(
            {"other-n": n, "other-p": p}, cookie_name_temporary="other-n", cookie_name_permanent="other-p"
        )
        assert is_fresh(
            {"gimlet-p": n, "gimlet-n": p}, cookie_name_temporary="gimlet-p", cookie_name_permanent="gimlet-n"
        )

    def test_one_flipped_character_is_refused(self):
        visitor = Visitor()
        visitor.visit(put(a=1))
        good = visitor.cookies["gimlet-n"]
        for at in range(len(good)):
            other = "A" if good[at] != "A" else "B"
            session = Visitor({"gimlet-n": good[:at] + other + good[at + 1 :]}).arrive()
            assert session.new
            assert session == {}

    def test_fix_several_secrets(self):
        """The first seals, all open; a cookie of an older one is sealed anew when the session is used."""
        visitor = Visitor(secret=OTHER_SECRET)
        visitor.visit(put(a=1))
        between = visitor.again(secret=[SECRET, OTHER_SECRET])
        assert between.visit(dict) == {"a": 1}
        assert between.sent == {"gimlet-n", "gimlet-p"}
        assert between.again(secret=SECRET).visit(dict) == {"a": 1}
        assert visitor.again(secret=SECRET).visit(dict) == {}

    @pytest.mark.parametrize(
        ("before", "after"),
        [(None, KEY), (KEY, None), (KEY, OTHER_KEY), (KEY, KEY[:32]), (KEY, "ff" * 24)],
        ids=["added", "removed", "changed", "shorter", "other size"],
    )
    @pytest.mark.parametrize("side_by_side", [False, True])
    def test_fix_a_changed_encryption_key_is_no_500(self, before, after, side_by_side):
        """1.8: UnpicklingError or struct.error on every request of that visitor."""
        visitor = Visitor(encryption_key=before, side_by_side=side_by_side)
        visitor.visit(put(b=1))
        assert is_fresh(visitor.cookies, encryption_key=after, side_by_side=side_by_side)
        assert is_fresh(visitor.cookies, encryption_key=after, side_by_side=not side_by_side)

    @pytest.mark.parametrize("side_by_side", [False, True])
    @pytest.mark.parametrize(
        ("before", "ring"), [(KEY, [OTHER_KEY, KEY]), (None, [KEY, ""])], ids=["changed", "added"]
    )
    def test_several_encryption_keys_keep_the_sessions(self, before, ring, side_by_side):
        visitor = Visitor(encryption_key=before, side_by_side=side_by_side)
        visitor.visit(put(b=1))
        later = visitor.again(encryption_key=ring, side_by_side=False)
        assert later.visit(dict) == {"b": 1}
        assert later.again(encryption_key=ring[0]).visit(dict) == {"b": 1}

    def test_the_encryption_key_is_needed_beside_the_secret(self):
        visitor = Visitor(encryption_key=KEY)
        visitor.visit(put(a=1))
        assert visitor.again(encryption_key=None).visit(dict) == {}

    def test_fix_a_session_that_was_not_used_ends_on_the_server(self):
        """1.8: a cookie was valid for ever."""
        for name, lifetime in (("gimlet-p", 400 * DAY), ("gimlet-n", 30 * DAY)):
            clock = ManualClock()
            visitor = Visitor(clock=clock, permanent=name == "gimlet-p")
            visitor.visit(put(a=1))
            kept = {name: visitor.cookies[name]}
            clock.advance(lifetime)
            assert Visitor(kept, clock=clock).visit(dict) == {"a": 1}
            clock.advance(1)
            assert Visitor(kept, clock=clock).visit(dict) == {}

    def test_fix_the_permanent_cookie_is_renewed(self):
        """1.8: browsers keep no cookie for longer than 400 days, and it was never sent again."""
        clock = ManualClock()
        visitor = Visitor(clock=clock, backend={})
        visitor.visit(lambda session: session.set("a", 1, permanent=True))
        line = set_cookies(visitor.response)["gimlet-p"]
        assert f"; Max-Age={400 * DAY};" in line
        visitor.visit(dict)
        assert visitor.sent == set()
        clock.advance(40 * DAY + 1)
        del visitor.cookies["gimlet-n"]  # the browser was closed
        visitor.visit()
        assert visitor.sent == set(), "an untouched request costs nothing"
        visitor.visit(dict)
        assert visitor.sent == {"gimlet-p"}
        visitor.visit(dict)
        assert visitor.sent == set()
        for _ in range(30):
            clock.advance(300 * DAY)
            assert visitor.visit(dict) == {"a": 1}

    def test_lifetimes_are_settings_and_may_be_text(self):
        clock = ManualClock()
        visitor = Visitor(clock=clock, permanent_lifetime="3600", temporary_lifetime=timedelta(minutes=1))
        visitor.visit(lambda session: (session.set("p", 1, permanent=True), session.set("n", 1)))
        assert "; Max-Age=3600;" in set_cookies(visitor.response)["gimlet-p"]
        clock.advance(61)
        assert visitor.visit(dict) == {"p": 1}
        for wrong in ({"permanent_lifetime": timedelta(days=401)}, {"temporary_lifetime": 0}):
            with pytest.raises(ConfigurationError):
                factory(**wrong)

    def test_fix_after_2038_nothing_changes(self):
        """1.8: struct.error for everybody."""
        clock = ManualClock(2**31 + 5)
        for side_by_side in (False, True):
            visitor = Visitor(clock=clock, side_by_side=side_by_side)
            visitor.visit(put(a=1))
            assert visitor.visit(dict) == {"a": 1}
        visitor = Visitor(clock=clock)
        assert visitor.visit(lambda session: session.created_timestamp) == 2**31 + 5
        assert visitor.visit(lambda session: session.created_timestamp) == 2**31 + 5

    def test_fix_a_cookie_that_browsers_would_drop_is_an_error_and_nothing_is_written(self):
        """1.8: over 4 KiB it was dropped in silence."""
        backend = {}
        visitor = Visitor(backend=backend)
        noise = "".join(map(chr, range(0x100, 0x1100)))

        def use(session):
            session["server"] = 1
            session.set("client", noise, clientside=True)

        with pytest.raises(TooLarge, match="gimlet-n"):
            visitor.visit(use)
        assert backend == {}

    def test_long_data_that_can_be_compressed_still_fits(self):
        """As in gimlet's cookies."""
        visitor = Visitor()
        visitor.visit(put(a="x" * 20_000))
        assert len(visitor.cookies["gimlet-n"]) < 1000
        assert visitor.visit(dict) == {"a": "x" * 20_000}

    def test_what_the_safe_form_can_not_give_back_is_refused_by_the_name_of_its_key(self):
        for options in ({}, {"backend": {}, "clientside": True}):
            with pytest.raises(NotStorable, match=r"session\['a'\]"):
                Visitor(**options).visit(put(a=object()))

    def test_several_cookies_of_one_name_count_when_one_is_ours_and_not_when_two_are(self):
        """Somebody else's page on a subdomain can plant one of his own."""
        visitor, other = Visitor(), Visitor()
        visitor.visit(put(a=1))
        other.visit(put(a=2))
        mine, planted = visitor.cookies["gimlet-n"], other.cookies["gimlet-n"]

        def told(*values):
            from tests.compat.gimlet.quiet import Request

            header = "; ".join(f"gimlet-n={value}" for value in values)
            return dict(factory()(Request.blank("/", headers={"Cookie": header})))

        assert told(mine) == told("garbage", mine) == told(mine, mine) == {"a": 1}
        assert told(mine, planted) == told(planted, mine) == {}

    def test_samesite_and_the_other_attributes_can_be_chosen(self):
        visitor = Visitor()
        visitor.factory.channel_opts = {
            "perm": {"domain": "example.org", "samesite": "Strict"},
            "nonperm": {"path": "/a"},
        }
        visitor.visit(put(a=1))
        lines = set_cookies(visitor.response)
        assert lines["gimlet-p"].endswith("; Path=/; Domain=example.org; HttpOnly; SameSite=Strict")
        assert lines["gimlet-n"].endswith("; Path=/a; HttpOnly; SameSite=Lax")

    def test_a_form_of_payload_that_this_release_does_not_know_is_refused(self):
        """Sealed by us, and still not to be read."""
        sealer = Sealer(
            [len(SECRET).to_bytes(4, "big") + SECRET.encode()], purpose="gimlet nonperm", name="gimlet-n"
        )
        good = codec.encode((b"\1" * 16, 1, 2**40, codec.encode({"a": 1})))

        def cookie(packed):
            return to_text(sealer.seal(packed, bytes(24)))

        assert Visitor({"gimlet-n": cookie(b"\0" + good)}).visit(dict) == {"a": 1}
        assert Visitor({"gimlet-n": cookie(b"\1" + zlib.compress(good))}).visit(dict) == {"a": 1}
        for packed in (
            b"",
            b"\0",
            b"\0\xc1",
            b"\0" + codec.encode(7),
            b"\1junk",
            b"\1" + zlib.compress(bytes(1 << 21)),
        ):
            assert Visitor({"gimlet-n": cookie(packed)}).visit(dict) == {}


class TestOldOnes:
    def test_bad_signature_and_garbage_are_logged_without_the_cookie(self, caplog):
        """[KEEP] 1.8: the log line."""
        for value in ("garbage", "gar.bage", old_cookie({}, secret=OTHER_SECRET), "....", ".", "A" * 5000):
            caplog.clear()
            visitor = Visitor({"gimlet-n": value})
            visitor.visit()
            assert visitor.sent == {"gimlet-n", "gimlet-p"}
            (line,) = caplog.records
            assert line.name == "gimlet"
            assert line.levelname == "WARNING"
            assert line.getMessage().startswith("Request from None contained bad sig. ")
            assert value not in line.getMessage() or value == "."

    @pytest.mark.parametrize("name", ATTACKS)
    @pytest.mark.parametrize("key", [None, KEY])
    def test_fix_code_in_a_signed_cookie_does_not_run_and_is_no_500(
        self, name, key, tmp_path, monkeypatch, caplog
    ):
        """1.8 security: whoever learnt the secret ran code on the server."""
        monkeypatch.chdir(tmp_path)
        attack = old_cookie(None, key=key, pickled=pickle.dumps({"a": ATTACKS[name]}))
        assert is_fresh({"gimlet-n": attack}, encryption_key=key)
        assert list(tmp_path.iterdir()) == []
        assert "bad sig" in caplog.text

    def test_fix_a_signed_payload_that_can_not_be_read_is_no_500(self):
        for pickled in (b"", b".", b"\x80", b"junk", pickle.dumps([1]), pickle.dumps(7)):
            assert is_fresh({"gimlet-n": old_cookie(None, pickled=pickled)})
        for key in (None, KEY):
            assert is_fresh({"gimlet-n": old_cookie({"b": 1}, key=OTHER_KEY)}, encryption_key=key)

    def test_old_cookies_can_be_turned_off(self):
        cookie = {"gimlet-n": old_cookie({"b": 1})}
        assert Visitor(cookie).visit(dict) == {"b": 1}
        assert is_fresh(cookie, read_old=False)

    def test_b02_no_other_reader_is_tried(self):
        """A sealed cookie has no dot, an old one has: neither is read in the other's way."""
        sealed = Visitor()
        sealed.visit(put(a=1))
        assert is_fresh({"gimlet-n": sealed.cookies["gimlet-n"] + "."})
        body = old_cookie({"user": "admin"}).partition(".")[0]
        for forged in (body, f"{body}.", f".{body}", old_cookie({"user": "admin"}, secret="")):
            assert is_fresh({"gimlet-n": forged})

    def test_an_old_secret_of_the_ring_reads_old_cookies(self):
        cookie = {"gimlet-n": old_cookie({"b": 1}, secret=OTHER_SECRET)}
        visitor = Visitor(cookie, secret=[SECRET, OTHER_SECRET])
        assert visitor.visit(dict) == {"b": 1}
        assert visitor.again(secret=SECRET).visit(dict) == {"b": 1}

    def test_fix_one_old_cookie_under_both_names_is_one_session(self):
        """1.8: the same record showed twice. gimlet's cookies can't be bound; so the second does not count."""
        cookie = old_cookie({"b": 1})
        visitor = Visitor({"gimlet-n": cookie, "gimlet-p": cookie}, backend={(b"01" * 16): {"s": 1}})

        def use(session):
            assert len(session) == 2
            assert sorted(session) == ["b", "s"]
            assert not session.is_permanent("b")

        visitor.visit(use)
        assert visitor.visit(dict) == {"b": 1, "s": 1}

    def test_classes_that_the_application_names_are_read_from_old_cookies(self):
        cookie = {"gimlet-n": old_cookie({"price": Price()})}
        assert is_fresh(cookie)
        visitor = Visitor(cookie, allow=[f"{__name__}.in_cents"])
        assert visitor.visit(dict) == {"price": 7}
        assert visitor.again(allow=()).visit(dict) == {"price": 7}, "it is now in the safe form"

    def test_plain_types_need_no_list(self):
        value = {"day": dt.date(2026, 11, 21), "id": uuid.UUID(int=7)}
        assert Visitor({"gimlet-n": old_cookie(value)}).visit(dict) == value

    @patient
    @given(st.binary(max_size=120))
    def test_r22_any_bytes_in_the_cookie_are_no_error(self, noise):
        from tests.compat.gimlet.quiet import Request

        request = Request.blank("/")
        request.environ["HTTP_COOKIE"] = "gimlet-n=" + noise.decode("latin-1")
        session = factory()(request)
        assert session == {}


class TestSideBySide:
    def test_it_warns(self):
        with pytest.warns(SideBySideWarning, match="SHA-1"):
            session_factory_factory(SECRET, side_by_side=True)

    def test_without_it_nothing_warns(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session_factory_factory(SECRET)

    def test_it_refuses_what_is_no_builtin(self):
        with pytest.raises(NotStorable, match="allow"):
            Visitor(side_by_side=True).visit(put(a=TestSideBySide))

    def test_a_short_secret_is_told(self, caplog):
        factory("s3krit")
        assert "coatcheck secret" in caplog.text
        assert "s3krit" not in caplog.text


class TestSerializer:
    """[KEEP] 1.1: the class that gimlet's users may have imported."""

    def channel(self):
        return SessionChannel(b"ab" * 16, 1_700_000_000, None, fresh=True, client_data={"a": [1]})

    @pytest.mark.parametrize("key", [None, KEY, KEY[:32], "ff" * 24])
    def test_it_goes_to_and_fro(self, key):
        one = URLSafeCookieSerializer(SECRET, None, Crypter(key) if key else None)
        told = (b"ab" * 16, 1_700_000_000, {"a": [1]})
        assert one.loads(one.dumps(self.channel())) == told
        assert one.load_payload(one.dump_payload(self.channel())) == told

    def test_it_refuses(self):
        one = URLSafeCookieSerializer(SECRET, None, None)
        with pytest.raises(BadSignature):
            one.loads("a.b")
        with pytest.raises(ValueError, match="too short"):
            one.load_payload(b"short")
        with pytest.raises(DecodeError):
            one.load_payload(bytes(20) + b"junk")
        for payload in (zlib.compress(bytes(1 << 21)), b"junk"):
            body = b"." + base64.urlsafe_b64encode(payload).rstrip(b"=")
            with pytest.raises(ValueError, match="payload"):
                one.loads(body + b"." + one._signature(body))

    def test_the_crypter_pads_as_gimlets(self):
        """[KEEP] 1.10: encrypt, decrypt, pad, unpad."""
        crypter = Crypter(KEY)
        for size in (0, 1, 15, 16, 17):
            data = b"x" * size
            padded = crypter.pad(data)
            assert len(padded) % 16 == 0
            assert 1 <= len(padded) - size <= 16
            assert crypter.unpad(padded) == data
            assert crypter.decrypt(crypter.encrypt(data)) == data
