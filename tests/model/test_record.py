"""What a change means, and the bytes of a record. Nothing but `coatcheck.model.record` runs here."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Applied,
    Create,
    Destroy,
    Lifetimes,
    Record,
    RecordError,
    Refused,
    Rotation,
    Settled,
    SignIn,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)

KEY = bytes(range(16))
NOW = 1_900_000_000_000
SECRET, OLD, NEW, OTHER = (bytes([byte]) * 32 for byte in (1, 2, 3, 4))
LIMITS = Lifetimes(idle=1_000, absolute=10_000, remember_idle=5_000, remember_absolute=50_000)
GRACE = 300

# The bytes as the table in the docstring of `coatcheck.model.record` has them, written out by hand.
HEAD = (
    "000102030405060708090a0b0c0d0e0f"  # key
    + "01" * 32  # secret
    + "019b00000001"  # secret_at
    + "019b00000002"  # created
    + "019b00000003"  # last_used
    + "019b00000004"  # expires
)
TIMES = {"secret_at": 0x019B00000001, "created": 0x019B00000002}
TIMES |= {"last_used": 0x019B00000003, "expires": 0x019B00000004}
SIGNED_IN = "019b00000005" + "0004" + "0003" + "616cc3a9" + "466f78"  # a user of four bytes; "Fox"
IN_GRACE = "02" * 32 + "019b00000006"
PLAIN = Record(key=KEY, secret=SECRET, **TIMES)
GOLDEN = {
    "without fields": (PLAIN, "0100" + HEAD + "80"),
    "permanent": (replace(PLAIN, permanent=True), "0102" + HEAD + "80"),
    "signed in": (
        replace(PLAIN, signed_in=0x019B00000005, user="al\N{LATIN SMALL LETTER E WITH ACUTE}", client="Fox"),
        "0101" + HEAD + SIGNED_IN + "80",
    ),
    "in grace, not seen": (
        replace(PLAIN, previous=OLD),
        "0104" + HEAD + "02" * 32 + "000000000000" + "80",
    ),
    "everything": (
        replace(
            PLAIN,
            permanent=True,
            signed_in=0x019B00000005,
            user="al\N{LATIN SMALL LETTER E WITH ACUTE}",
            client="Fox",
            previous=OLD,
            seen=0x019B00000006,
            fields={"a": b"\x01\x02", "": b""},
        ),
        "0107" + HEAD + SIGNED_IN + IN_GRACE + "82" + "a161" + "c4020102" + "a0" + "c400",
    ),
    "long names and values": (
        replace(PLAIN, fields={"n" * 32: b"v" * 256}),
        "0100" + HEAD + "81" + "d920" + "6e" * 32 + "c50100" + "76" * 256,
    ),
    "the user of no name": (
        replace(PLAIN, signed_in=0x019B00000005, user=""),
        "0101" + HEAD + "019b00000005" + "0000" + "0000" + "80",
    ),
    "tombstone": (
        Tombstone(KEY, 0x019B00000004),
        "0180" + "000102030405060708090a0b0c0d0e0f" + "00" * 32 + "00" * 18 + "019b00000004",
    ),
}


def record(**parts):
    return Record(
        **{
            "key": KEY,
            "secret": SECRET,
            "secret_at": NOW,
            "created": NOW,
            "last_used": NOW,
            "expires": NOW + LIMITS.idle,
            "fields": {"a": b"1", "b": b"2"},
            **parts,
        }
    )


def update(**parts):
    return Update(**{"key": KEY, "at": NOW, "lifetimes": LIMITS, "grace": GRACE, **parts})


@pytest.mark.promise("F-22")
class TestTheBytes:
    @pytest.mark.parametrize("name", GOLDEN)
    def test_a_record_is_written_as_the_table_says(self, name):
        state, golden = GOLDEN[name]
        assert encode(state).hex() == golden

    @pytest.mark.parametrize("name", GOLDEN)
    def test_what_the_table_says_is_read(self, name):
        state, golden = GOLDEN[name]
        assert decode(KEY, bytes.fromhex(golden)) == state

    @pytest.mark.parametrize("name", GOLDEN)
    def test_what_is_cut_off_anywhere_can_not_be_read(self, name):
        data = bytes.fromhex(GOLDEN[name][1])
        for length in range(len(data)):
            with pytest.raises(RecordError):
                decode(KEY, data[:length])

    @pytest.mark.parametrize("name", GOLDEN)
    def test_what_has_something_behind_it_can_not_be_read(self, name):
        with pytest.raises(RecordError):
            decode(KEY, bytes.fromhex(GOLDEN[name][1]) + b"\0")

    @pytest.mark.parametrize("name", GOLDEN)
    def test_the_record_of_another_key_can_not_be_read(self, name):
        with pytest.raises(RecordError, match="another key"):
            decode(KEY[::-1], bytes.fromhex(GOLDEN[name][1]))

    @pytest.mark.parametrize("version", [0, 2, 255])
    def test_another_format_can_not_be_read_and_the_error_names_both(self, version):
        data = bytearray(encode(PLAIN))
        data[0] = version
        with pytest.raises(RecordError, match=f"has format {version}; this release reads format 1"):
            decode(KEY, bytes(data))

    @pytest.mark.parametrize("flag", [8, 16, 32, 64])
    def test_a_flag_that_is_not_in_the_table_can_not_be_read(self, flag):
        data = bytearray(encode(PLAIN))
        data[1] = flag
        with pytest.raises(RecordError, match="damaged"):
            decode(KEY, bytes(data))

    @pytest.mark.parametrize("name", GOLDEN)
    def test_with_one_byte_changed_it_is_refused_or_read_as_a_record_whose_times_are_dates(self, name):
        data = bytes.fromhex(GOLDEN[name][1])
        for offset in range(len(data)):
            for mask in (0x01, 0x02, 0x80, 0xFF):
                try:
                    read = decode(KEY, data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :])
                except RecordError:
                    continue
                assert read.key == KEY
                times = [read.expires]
                if isinstance(read, Record):
                    times += [read.created, read.last_used, read.secret_at, read.signed_in]
                for time in times:
                    datetime.fromtimestamp(time / 1000, UTC)

    @pytest.mark.parametrize("which", ["secret_at", "created", "last_used", "expires", "signed_in"])
    def test_a_time_after_the_year_9999_can_not_be_read(self, which):
        end = 253_402_300_800_000  # the first millisecond of the year 10,000
        state = replace(PLAIN, user="ada")
        for time in (end, (1 << 48) - 1):
            with pytest.raises(RecordError, match="damaged"):
                decode(KEY, encode(replace(state, **{which: time})))

    @pytest.mark.parametrize("where", ["user", "name of a field"])
    def test_text_that_is_not_utf_8_can_not_be_read(self, where):
        state = replace(PLAIN, signed_in=1, user="ada", fields={"theme": b""})
        text = {"user": b"ada", "name of a field": b"theme"}[where]
        data = encode(state).replace(text, b"\xff" * len(text))
        with pytest.raises(RecordError, match="damaged"):
            decode(KEY, data)

    @pytest.mark.parametrize("fields", ["c0", "90", "8101c400", "81a161a162", "81a161c0", "81a161c402"])
    def test_fields_that_are_no_map_of_str_to_bin_can_not_be_read(self, fields):
        with pytest.raises(RecordError, match="damaged"):
            decode(KEY, bytes.fromhex("0100" + HEAD + fields))

    def test_a_live_record_is_never_taken_for_a_tombstone(self):
        data = bytearray(encode(record()))
        data[1] |= 128
        with pytest.raises(RecordError):
            decode(KEY, bytes(data))

    def test_no_error_tells_what_was_in_the_record(self):
        data = encode(record(fields={"password": b"swordfish"}))
        with pytest.raises(RecordError) as caught:
            decode(KEY, data[:-1])
        assert "swordfish" not in str(caught.value)
        assert "password" not in str(caught.value)


@pytest.mark.promise("16")
class TestLifetimes:
    @pytest.mark.parametrize(
        ("permanent", "last_used", "expires"),
        [
            (False, 0, 1_000),
            (False, 9_000, 10_000),
            (False, 9_999, 10_000),
            (True, 0, 5_000),
            (True, 49_999, 50_000),
        ],
    )
    def test_a_record_ends_at_the_earlier_of_its_two_limits(self, permanent, last_used, expires):
        assert LIMITS.expiry(start=0, last_used=last_used, permanent=permanent) == expires

    def test_a_life_starts_at_the_sign_in_otherwise_at_the_creation(self):
        assert record(created=7).start == 7
        assert record(created=7, signed_in=9, user="ada").start == 9


@pytest.mark.promise("13")
class TestWhoMayChangeIt:
    @pytest.mark.parametrize("secret", [SECRET, None])
    def test_with_the_current_secret_or_without_asking(self, secret):
        assert isinstance(record().apply(update(secret=secret)), Record)

    @pytest.mark.parametrize("secret", [OTHER, OLD])
    def test_not_with_another_secret(self, secret):
        assert record().apply(update(secret=secret)) is Refused.CHANGED

    def test_with_the_previous_secret_until_the_new_one_was_seen(self):
        assert record(previous=OLD).accepts(OLD, at=NOW + 10**9, grace=0)

    @pytest.mark.parametrize(("at", "good"), [(NOW + GRACE - 1, True), (NOW + GRACE, False)])
    def test_with_the_previous_secret_for_the_grace_after_that(self, at, good):
        assert record(previous=OLD, seen=NOW).accepts(OLD, at=at, grace=GRACE) is good

    def test_not_when_nobody_is_signed_in_and_the_change_is_for_a_user(self):
        assert record().apply(update(user="ada")) is Refused.CHANGED

    @pytest.mark.parametrize(("user", "good"), [("ada", True), ("grace", False)])
    def test_only_for_the_user_it_names(self, user, good):
        after = record(signed_in=NOW, user="ada").apply(update(user=user))
        assert isinstance(after, Record) is good

    @pytest.mark.parametrize(("before_the_end", "good"), [(1, True), (0, False), (-1, False)])
    def test_not_after_its_end(self, before_the_end, good):
        it = record()
        after = it.apply(update(at=it.expires - before_the_end))
        assert isinstance(after, Record) if good else after is Refused.GONE

    def test_its_end_is_told_before_its_secret(self):
        it = record()
        assert it.apply(update(at=it.expires, secret=OTHER)) is Refused.GONE


@pytest.mark.promise("V")
class TestFields:
    @pytest.mark.parametrize(
        ("change", "left"),
        [
            ({}, {"a": b"1", "b": b"2"}),
            ({"set": {"a": b"3", "c": b"4"}}, {"a": b"3", "b": b"2", "c": b"4"}),
            ({"remove": frozenset({"a", "x"})}, {"b": b"2"}),
            ({"take": ("a", "x")}, {"b": b"2"}),
            ({"clear": True}, {}),
            ({"clear": True, "set": {"c": b"4"}}, {"c": b"4"}),
            ({"remove": frozenset({"a"}), "set": {"a": b"3"}}, {"b": b"2", "a": b"3"}),
            ({"take": ("a",), "set": {"a": b"3"}}, {"b": b"2", "a": b"3"}),
        ],
    )
    def test_are_cleared_then_removed_and_taken_then_set(self, change, left):
        after = record().apply(update(**change))
        # The order counts: it is the order of the bytes.
        assert list(after.fields.items()) == list(left.items())

    def test_of_the_record_before_are_left_as_they_were(self):
        before = record()
        before.apply(update(set={"a": b"3"}, remove=frozenset({"b"})))
        assert before.fields == {"a": b"1", "b": b"2"}


@pytest.mark.promise("14")
class TestRotation:
    def test_at_random_ends_every_older_secret(self):
        after = record(previous=OLD, seen=NOW).apply(update(at=NOW + 5, rotate=Rotation(NEW)))
        assert (after.secret, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, None, 0)

    def test_derived_keeps_the_old_secret_and_waits_until_the_new_one_is_seen(self):
        change = update(at=NOW + 5, secret=SECRET, rotate=Rotation(NEW, derived=True))
        after = record(previous=OLD, seen=NOW).apply(change)
        assert (after.secret, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, SECRET, 0)

    @pytest.mark.parametrize("secret", [OLD, None])
    def test_derived_by_one_who_does_not_hold_the_current_secret_changes_nothing(self, secret):
        before = record(previous=OLD)
        after = before.apply(update(secret=secret, rotate=Rotation(NEW, derived=True)))
        assert after == before

    def test_derived_to_what_is_already_the_secret_changes_nothing(self):
        before = record(previous=OLD)
        after = before.apply(update(at=NOW, secret=SECRET, rotate=Rotation(SECRET, derived=True)))
        assert after == before

    def test_derived_twice_by_parallel_requests_changes_it_once(self):
        change = update(secret=SECRET, rotate=Rotation(NEW, derived=True))
        once = record().apply(change)
        assert once.apply(replace(change, at=NOW + 1)).secret_at == NOW
        assert once.apply(change) == once

    def test_the_first_sight_of_the_new_secret_is_noted(self):
        after = record(previous=OLD).apply(update(at=NOW + 5, secret=SECRET, seen=True))
        assert (after.previous, after.seen) == (OLD, NOW + 5)

    def test_a_later_sight_is_not(self):
        before = record(previous=OLD, seen=NOW)
        after = before.apply(update(at=NOW + 5, secret=SECRET, seen=True))
        assert (after.previous, after.seen) == (OLD, NOW)

    def test_where_no_secret_was_rotated_there_is_nothing_to_see(self):
        assert record().apply(update(secret=SECRET, seen=True)).seen == 0

    def test_one_who_saw_the_secret_that_has_become_the_previous_one_has_not_seen_the_new_one(self):
        # It was loaded with the secret that it calls new; by the time it is applied, another has rotated on.
        after = record(previous=OLD).apply(update(secret=OLD, seen=True))
        assert (after.previous, after.seen) == (OLD, 0)

    @pytest.mark.parametrize(("at", "previous"), [(NOW + GRACE - 1, OLD), (NOW + GRACE, None)])
    def test_after_the_grace_the_old_secret_is_forgotten(self, at, previous):
        after = record(previous=OLD, seen=NOW).apply(update(at=at))
        assert (after.previous, after.seen) == (previous, NOW if previous else 0)


@pytest.mark.promise("13")
class TestSigningIn:
    def test_names_the_user_the_client_and_the_time(self):
        after = record().apply(update(at=NOW + 5, sign_in=SignIn("ada", "Fox")))
        assert (after.user, after.client, after.signed_in, after.start) == ("ada", "Fox", NOW + 5, NOW + 5)

    @pytest.mark.parametrize(("at", "signed_in"), [(NOW + 5, NOW + 5), (NOW, NOW + 1), (NOW - 5, NOW + 1)])
    def test_is_always_later_than_the_sign_in_before(self, at, signed_in):
        it = record(signed_in=NOW, user="ada", client="Fox")
        after = it.apply(update(at=at, sign_in=SignIn("grace")))
        assert (after.user, after.client, after.signed_in) == ("grace", "", signed_in)

    def test_gives_a_new_absolute_limit(self):
        it = record(created=NOW - LIMITS.absolute + 1, expires=NOW + 1)
        assert it.apply(update()).expires == NOW + 1
        assert it.apply(update(sign_in=SignIn("ada"))).expires == NOW + LIMITS.idle


class TestLimits:
    def test_use_moves_the_idle_limit(self):
        after = record().apply(update(at=NOW + 500))
        assert (after.last_used, after.expires) == (NOW + 500, NOW + 500 + LIMITS.idle)

    def test_an_older_use_does_not_move_it_back(self):
        after = record().apply(update(at=NOW - 500))
        assert (after.last_used, after.expires) == (NOW, NOW + LIMITS.idle)

    def test_what_is_not_the_visitors_own_use_does_not_move_it(self):
        after = record().apply(update(at=NOW + 500, touch=False, set={"a": b"3"}))
        assert (after.last_used, after.expires, after.fields["a"]) == (NOW, NOW + LIMITS.idle, b"3")

    @pytest.mark.parametrize(
        ("before", "change", "after"),
        [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
    )
    def test_permanence_changes_when_it_is_told_to(self, before, change, after):
        it = record(permanent=before).apply(update(permanent=change))
        assert it.permanent is after
        assert it.expires == NOW + (LIMITS.remember_idle if after else LIMITS.idle)

    def test_shorter_limits_are_in_force_with_the_next_change(self):
        shorter = Lifetimes(idle=10, absolute=20, remember_idle=30, remember_absolute=40)
        assert record().apply(update(lifetimes=shorter)).expires == NOW + 10


@pytest.mark.promise("12")
class TestSettle:
    def test_creating_puts_the_record_where_nothing_is(self):
        assert settle(None, Create(record())) == Settled(APPLIED, record())
        assert Create(record()).key == KEY

    @pytest.mark.parametrize("there", [encode(record()), encode(Tombstone(KEY, 1)), b"", b"garbage"])
    def test_creating_never_overwrites(self, there):
        assert settle(there, Create(record())) == Settled(Refused.EXISTS)

    @pytest.mark.parametrize("change", [update(), Destroy(key=KEY, at=NOW)])
    @pytest.mark.parametrize("there", [None, encode(Tombstone(KEY, NOW + 1)), encode(record(expires=NOW))])
    def test_what_is_absent_ended_or_expired_is_gone(self, there, change):
        assert settle(there, change) == Settled(Refused.GONE)

    @pytest.mark.parametrize(
        "change", [update(), Destroy(key=KEY, at=NOW, user="ada"), Destroy(key=KEY, at=NOW, signed_in=NOW)]
    )
    def test_what_can_not_be_read_is_left_alone(self, change):
        assert settle(b"garbage", change) == Settled(Refused.UNREADABLE)

    @pytest.mark.parametrize("there", [b"garbage", encode(record())])
    def test_an_unconditional_destroy_always_leaves_a_tombstone(self, there):
        settled = settle(there, Destroy(key=KEY, at=NOW))
        assert settled == Settled(APPLIED, Tombstone(KEY, NOW + TOMBSTONE_LIFE))

    @pytest.mark.parametrize(
        ("user", "signed_in", "good"),
        [
            ("ada", None, True),
            (None, NOW, True),
            ("ada", NOW, True),
            ("grace", None, False),
            ("grace", NOW, False),
            (None, NOW + 1, False),
            ("ada", NOW - 1, False),
        ],
    )
    def test_a_destroy_is_for_the_user_and_the_life_that_it_names(self, user, signed_in, good):
        there = encode(record(user="ada", signed_in=NOW))
        settled = settle(there, Destroy(key=KEY, at=NOW, user=user, signed_in=signed_in))
        expected = (
            Settled(APPLIED, Tombstone(KEY, NOW + TOMBSTONE_LIFE)) if good else Settled(Refused.CHANGED)
        )
        assert settled == expected

    def test_an_update_puts_what_apply_says(self):
        change = update(set={"a": b"3"})
        assert settle(encode(record()), change) == Settled(APPLIED, record().apply(change))

    def test_a_refused_update_puts_nothing(self):
        assert settle(encode(record()), update(secret=OTHER)) == Settled(Refused.CHANGED)

    def test_what_was_taken_is_given_back_as_it_was(self):
        settled = settle(encode(record()), update(take=("b", "x"), set={"b": b"3"}))
        assert settled.answer == Applied({"b": b"2"})
        assert settled.state.fields == {"a": b"1", "b": b"3"}

    def test_after_clearing_nothing_is_taken(self):
        assert settle(encode(record()), update(clear=True, take=("b",))).answer == Applied({})


def test_a_record_can_be_put_under_another_key():
    assert record().with_key(bytes(16)) == record(key=bytes(16))


@pytest.mark.parametrize(
    "struct",
    [
        record(fields={"name": b"swordfish"}, secret=b"s" * 32, previous=b"s" * 32),
        Create(record(fields={"name": b"swordfish"}, secret=b"s" * 32)),
        update(set={"name": b"swordfish"}, secret=b"s" * 32, rotate=Rotation(b"s" * 32)),
        Rotation(b"s" * 32, derived=True),
        Applied({"name": b"swordfish"}),
        Settled(Applied({"name": b"swordfish"}), record(secret=b"s" * 32)),
    ],
    ids=lambda struct: type(struct).__name__,
)
def test_no_repr_shows_a_value_or_a_secret(struct):
    assert "swordfish" not in repr(struct)
    assert "sss" not in repr(struct)
