"""The meaning of a change: nothing but `coatcheck.model.record` runs here."""

import pytest
from msgspec.structs import replace

from coatcheck.model.fields import FLASH
from coatcheck.model.lifetimes import Lifetimes
from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Applied,
    Create,
    Destroy,
    Edit,
    Holder,
    Record,
    Refused,
    Rotation,
    Settled,
    SignIn,
    Tombstone,
    Unreadable,
    Update,
    settle,
)

KEY = bytes(range(16))
NOW = 1_900_000_000_000
SECRET, OLD, NEW, OTHER = (bytes([byte]) * 32 for byte in (1, 2, 3, 4))
MARK = b"mark"
LIMITS = Lifetimes(idle=1_000, absolute=10_000, remember_idle=5_000, remember_absolute=50_000)
GRACE = 300
GARBAGE = Unreadable("the record is damaged")


def record(**parts):
    return Record(
        **{
            "key": KEY,
            "secret_hash": SECRET,
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


def ended(at=NOW):
    return Settled(APPLIED, Tombstone(KEY, at + TOMBSTONE_LIFE))


@pytest.mark.promise("16")
class TestLifetimes:
    @pytest.mark.parametrize(
        ("permanent", "last_used", "ends"),
        [
            (False, 0, 1_000),
            (False, 9_000, 10_000),
            (False, 9_999, 10_000),
            (True, 0, 5_000),
            (True, 49_999, 50_000),
        ],
    )
    def test_a_record_ends_at_the_earlier_of_its_two_limits(self, permanent, last_used, ends):
        it = record(permanent=permanent, last_used=NOW + last_used, expires=NOW + 60_000)
        assert it.is_alive(NOW + ends - 1, LIMITS)
        assert not it.is_alive(NOW + ends, LIMITS)
        assert it.apply(update(at=NOW + last_used, used=False)).expires == NOW + ends

    def test_a_life_starts_at_the_sign_in_otherwise_at_the_creation(self):
        assert record(created=7).start == 7
        assert record(created=7, signed_in=9, user="ada").start == 9

    def test_the_latest_end_is_the_absolute_limit(self):
        it = record(created=7, signed_in=9, user="ada")
        assert it.until(LIMITS) == 9 + LIMITS.absolute
        assert replace(it, permanent=True).until(LIMITS) == 9 + LIMITS.remember_absolute
        assert replace(it, absolute=5).until(LIMITS) == 9 + 5


@pytest.mark.promise("13")
class TestWhoMayChangeIt:
    @pytest.mark.parametrize("secret", [SECRET, None])
    def test_with_the_current_secret_or_without_asking(self, secret):
        assert isinstance(record().apply(update(secret_hash=secret)), Record)

    @pytest.mark.parametrize("secret", [OTHER, OLD])
    def test_not_with_another_secret(self, secret):
        assert record().apply(update(secret_hash=secret)) is Refused.CHANGED

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
        assert it.apply(update(at=it.expires, secret_hash=OTHER)) is Refused.GONE


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


ONE, BOTH = b"\x91\x01", b"\x92\x01\x02"  # the lists [1] and [1, 2], encoded


@pytest.mark.promise("M")
class TestEdits:
    def settled(self, stored, edit, **parts):
        fields = {} if stored is None else {"list": stored}
        return settle(record(fields=fields), update(edits={"list": edit}, **parts))

    def test_of_a_field_that_no_other_request_changed_are_stored_as_they_are(self):
        settled = self.settled(ONE, Edit(BOTH, base=ONE, stored=ONE))
        assert settled.record.fields == {"list": BOTH}
        assert settled.answer == APPLIED

    def test_of_a_field_that_another_request_changed_are_merged_and_that_is_told(self):
        settled = self.settled(b"\x92\x01\x03", Edit(BOTH, base=ONE, stored=ONE))
        assert settled.record.fields == {"list": b"\x93\x01\x03\x02"}
        assert settled.answer == Applied(merged=("list",))

    def test_of_a_field_that_another_request_removed_are_dropped(self):
        settled = self.settled(None, Edit(BOTH, base=ONE, stored=ONE))
        assert settled.record.fields == {}
        assert settled.answer == APPLIED

    def test_after_clearing_nothing_is_merged(self):
        settled = self.settled(b"\x91\x03", Edit(BOTH, base=ONE, stored=ONE), clear=True)
        assert settled.record.fields == {"list": BOTH}

    def test_of_a_new_field_that_another_request_added_too_are_merged_from_the_same_default(self):
        empty = b"\x90"
        settled = self.settled(b"\x91\x03", Edit(ONE, base=empty, stored=None))
        assert settled.record.fields == {"list": b"\x92\x03\x01"}

    def test_with_a_rule_are_what_the_rule_makes_of_them(self):
        seen = []

        def rule(base, theirs, ours):
            seen.append((base, theirs, ours))
            return "made"

        settled = self.settled(b"\x05", Edit(b"\x04", base=b"\x03", stored=b"\x03", rule=rule))
        assert seen == [(3, 5, 4)]
        assert settled.record.fields == {"list": b"\xa4made"}
        assert settled.answer == Applied(merged=("list",))

    def test_whose_rule_raises_are_the_later_write_and_that_is_told(self):
        def rule(base, theirs, ours):
            raise ValueError

        settled = self.settled(b"\x05", Edit(b"\x04", base=b"\x03", stored=b"\x03", rule=rule))
        assert settled.record.fields == {"list": b"\x04"}
        assert settled.answer == Applied(unmerged=("list",))


@pytest.mark.promise("11")
class TestFlashes:
    def test_the_oldest_go_beyond_the_limit_and_fields_stay(self):
        flashes = {f"{FLASH}{number}": b"1" for number in (3, 1, 2)}
        it = record(fields={"a": b"1", **flashes})
        after = it.apply(update(set={f"{FLASH}4": b"1"}, max_flashes=2))
        assert sorted(after.fields) == [f"{FLASH}3", f"{FLASH}4", "a"]

    def test_without_a_limit_all_stay(self):
        it = record(fields={f"{FLASH}{number}": b"1" for number in range(3)})
        assert it.apply(update()).fields == it.fields


@pytest.mark.promise("14")
class TestRotation:
    def test_at_random_ends_every_older_secret(self):
        after = record(previous=OLD, seen=NOW).apply(update(at=NOW + 5, rotate=Rotation(NEW, MARK)))
        assert (after.secret_hash, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, None, 0)
        assert after.mark == MARK

    def test_derived_keeps_the_old_secret_and_waits_until_the_new_one_is_seen(self):
        change = update(at=NOW + 5, secret_hash=SECRET, rotate=Rotation(NEW, MARK, derived=True))
        after = record(previous=OLD, seen=NOW).apply(change)
        assert (after.secret_hash, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, SECRET, 0)
        assert after.mark == bytes(4)

    @pytest.mark.parametrize("secret", [OLD, None])
    def test_derived_by_one_who_does_not_hold_the_current_secret_changes_nothing(self, secret):
        before = record(previous=OLD)
        after = before.apply(update(secret_hash=secret, rotate=Rotation(NEW, derived=True)))
        assert after == before

    def test_derived_to_what_is_already_the_secret_changes_nothing(self):
        before = record(previous=OLD)
        after = before.apply(update(at=NOW, secret_hash=SECRET, rotate=Rotation(SECRET, derived=True)))
        assert after == before

    def test_derived_twice_by_parallel_requests_changes_it_once(self):
        change = update(secret_hash=SECRET, rotate=Rotation(NEW, derived=True))
        once = record().apply(change)
        assert once.apply(replace(change, at=NOW + 1)).secret_at == NOW
        assert once.apply(change) == once

    def test_the_first_sight_of_the_new_secret_is_noted(self):
        after = record(previous=OLD).apply(update(at=NOW + 5, secret_hash=SECRET, seen=True))
        assert (after.previous, after.seen) == (OLD, NOW + 5)

    def test_a_later_sight_is_not(self):
        before = record(previous=OLD, seen=NOW)
        after = before.apply(update(at=NOW + 5, secret_hash=SECRET, seen=True))
        assert (after.previous, after.seen) == (OLD, NOW)

    def test_where_no_secret_was_rotated_there_is_nothing_to_see(self):
        assert record().apply(update(secret_hash=SECRET, seen=True)).seen == 0

    def test_one_who_saw_the_secret_that_has_become_the_previous_one_has_not_seen_the_new_one(self):
        # It was loaded with the secret that it calls new; by the time it is applied, another has rotated on.
        after = record(previous=OLD).apply(update(secret_hash=OLD, seen=True))
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
        after = record().apply(update(at=NOW + 500, used=False, set={"a": b"3"}))
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

    @pytest.mark.parametrize(
        ("limits", "expires"),
        [((50, 0), 50), ((0, 70), 70), ((200, 70), 70), ((1_500, 0), 1_500), ((20_000, 20_000), 20_000)],
    )
    def test_limits_of_its_own_act_at_once_and_stay(self, limits, expires):
        after = record().apply(update(limits=limits))
        assert (after.idle, after.absolute) == limits
        assert after.expires == NOW + expires
        assert after.apply(update()).expires == NOW + expires

    def test_limits_of_its_own_can_be_given_up(self):
        after = record(idle=50, absolute=70).apply(update(limits=(0, 0)))
        assert (after.idle, after.absolute, after.expires) == (0, 0, NOW + LIMITS.idle)

    def test_no_change_moves_the_absolute_limit_but_a_sign_in(self):
        last = NOW + LIMITS.absolute - 1
        it = record(last_used=last - 1, expires=last + 1)
        for parts in ({}, {"set": {"a": b"3"}}, {"rotate": Rotation(NEW)}, {"clear": True}):
            assert it.apply(update(at=last, **parts)).expires == last + 1
        assert it.apply(update(at=last, sign_in=SignIn("ada"))).expires == last + LIMITS.idle


@pytest.mark.promise("12")
class TestSettle:
    def test_creating_puts_the_record_where_nothing_is(self):
        assert settle(None, Create(record())) == Settled(APPLIED, record())
        assert Create(record()).key == KEY

    @pytest.mark.parametrize("there", [record(), Tombstone(KEY, 1), GARBAGE])
    def test_creating_never_overwrites(self, there):
        assert settle(there, Create(record())) == Settled(Refused.EXISTS)

    @pytest.mark.parametrize("change", [update(), Destroy(key=KEY, at=NOW)])
    @pytest.mark.parametrize("there", [None, Tombstone(KEY, NOW + 1), record(expires=NOW)])
    def test_a_record_that_is_absent_ended_or_expired_is_gone(self, there, change):
        assert settle(there, change) == Settled(Refused.GONE)

    def test_a_clock_that_lags_behind_changes_no_ended_record(self):
        assert settle(Tombstone(KEY, NOW + 1), update(at=NOW - 60_000)) == Settled(Refused.GONE)

    @pytest.mark.parametrize(
        "change",
        [
            update(),
            Destroy(key=KEY, at=NOW, holder=Holder("ada")),
            Destroy(key=KEY, at=NOW, holder=Holder(None)),
        ],
    )
    def test_a_record_that_can_not_be_read_is_left_alone(self, change):
        assert settle(GARBAGE, change) == Settled(Refused.UNREADABLE)

    @pytest.mark.parametrize("there", [GARBAGE, record(), record(user="ada", signed_in=NOW)])
    def test_an_unconditional_destroy_always_leaves_a_tombstone(self, there):
        assert settle(there, Destroy(key=KEY, at=NOW)) == ended()

    @pytest.mark.parametrize(
        ("holder", "good"),
        [
            (Holder("ada"), True),
            (Holder("ada", NOW), True),
            (Holder("grace"), False),
            (Holder("grace", NOW), False),
            (Holder("ada", NOW - 1), False),
            (Holder("ada", NOW + 1), False),
            (Holder(None), False),
        ],
    )
    def test_a_destroy_is_for_the_user_and_the_sign_in_that_it_names(self, holder, good):
        settled = settle(record(user="ada", signed_in=NOW), Destroy(key=KEY, at=NOW, holder=holder))
        assert settled == (ended() if good else Settled(Refused.CHANGED))

    @pytest.mark.parametrize(("holder", "good"), [(Holder(None), True), (Holder("ada"), False)])
    def test_a_record_without_a_user_is_destroyed_by_a_request_that_saw_none(self, holder, good):
        settled = settle(record(), Destroy(key=KEY, at=NOW, holder=holder))
        assert settled == (ended() if good else Settled(Refused.CHANGED))

    def test_a_destroy_asks_for_no_secret_and_so_works_beside_any_rotation(self):
        it = record(user="ada", signed_in=NOW)
        destroy = Destroy(key=KEY, at=NOW + 1, holder=Holder("ada"))
        for change in (
            update(rotate=Rotation(NEW)),
            update(secret_hash=SECRET, rotate=Rotation(NEW, derived=True)),
            update(sign_in=SignIn("ada"), rotate=Rotation(NEW)),
        ):
            assert settle(it.apply(change), destroy) == ended(NOW + 1)

    def test_an_update_puts_the_record_that_apply_gives(self):
        change = update(set={"a": b"3"})
        assert settle(record(), change) == Settled(APPLIED, record().apply(change))

    def test_a_refused_update_puts_nothing(self):
        assert settle(record(), update(secret_hash=OTHER)) == Settled(Refused.CHANGED)

    def test_taken_fields_are_given_back_as_they_were(self):
        settled = settle(record(), update(take=("b", "x"), set={"b": b"3"}))
        assert settled.answer == Applied({"b": b"2"})
        assert settled.record.fields == {"a": b"1", "b": b"3"}

    def test_after_clearing_nothing_is_taken(self):
        assert settle(record(), update(clear=True, take=("b",))).answer == Applied({})

    @pytest.mark.parametrize(
        ("change", "rotated"),
        [
            (update(), True),
            (update(rotate=Rotation(NEW)), True),
            (update(secret_hash=SECRET, rotate=Rotation(NEW, derived=True)), True),
            (update(secret_hash=OLD, rotate=Rotation(NEW, derived=True)), False),
        ],
    )
    def test_a_rotation_that_was_not_for_this_request_to_make_is_told(self, change, rotated):
        assert settle(record(previous=OLD), change).answer.rotated is rotated


def test_a_record_can_be_put_under_another_key():
    assert record().with_key(bytes(16)) == record(key=bytes(16))


@pytest.mark.parametrize(
    "struct",
    [
        record(fields={"name": b"swordfish"}, secret_hash=b"s" * 32, previous=b"s" * 32),
        Create(record(fields={"name": b"swordfish"}, secret_hash=b"s" * 32)),
        update(set={"name": b"swordfish"}, secret_hash=b"s" * 32, rotate=Rotation(b"s" * 32)),
        Rotation(b"s" * 32, derived=True),
        Edit(b"swordfish", b"swordfish", b"swordfish"),
        Applied({"name": b"swordfish"}),
        Settled(Applied({"name": b"swordfish"}), record(secret_hash=b"s" * 32)),
    ],
    ids=lambda struct: type(struct).__name__,
)
def test_no_repr_shows_a_value_or_a_secret(struct):
    assert "swordfish" not in repr(struct)
    assert "sss" not in repr(struct)
