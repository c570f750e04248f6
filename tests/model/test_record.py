"""What a change means. Nothing but `coatcheck.model.record` and merging runs here."""

import pytest
from msgspec.structs import replace

from coatcheck.model import codec, merges
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
LIMITS = Lifetimes(idle=1_000, absolute=10_000, remember_idle=5_000, remember_absolute=50_000)
GRACE = 300


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


def packed(value):
    return codec.encode(value)


def both(base, theirs, ours, **parts):
    """What two edits of a field leave, and what is told: the first is stored already."""
    stored = None if base is None else packed(base)
    fields = {} if theirs is None else {"a": packed(theirs)}
    rule = parts.pop("rule", None)
    edit = Edit(packed(ours), stored, stored, rule)
    settled = settle(record(fields=fields), update(edits={"a": edit}, **parts))
    after = settled.record.fields.get("a")
    return None if after is None else codec.decode(after), settled.answer


@pytest.mark.promise("M")
class TestEdits:
    def test_of_what_nobody_else_changed_stand_and_nothing_is_told(self):
        assert both([1], [1], [1, 2]) == ([1, 2], APPLIED)

    def test_of_both_are_merged_and_told(self):
        value, answer = both([1], [1, 2], [1, 3])
        assert (value, answer) == ([1, 2, 3], Applied(merged=("a",)))

    @pytest.mark.parametrize(
        ("base", "theirs", "ours"), [([1], "x", [2]), ([1], [2], [3]), ({}, [], {"a": 1})]
    )
    def test_that_can_not_be_merged_are_the_later_write_and_nothing_is_told(self, base, theirs, ours):
        assert both(base, theirs, ours) == (ours, APPLIED)

    def test_of_a_field_that_was_removed_meanwhile_are_gone(self):
        assert both([1], None, [1, 2]) == (None, APPLIED)

    def test_of_a_default_that_both_put_in_are_merged(self):
        edit = Edit(packed([2]), packed([]), None)
        settled = settle(record(fields={"a": packed([1])}), update(edits={"a": edit}))
        assert codec.decode(settled.record.fields["a"]) == [1, 2]
        settled = settle(record(fields={}), update(edits={"a": edit}))
        assert (codec.decode(settled.record.fields["a"]), settled.answer) == ([2], APPLIED)

    def test_of_what_this_request_sent_before_begin_there_and_not_with_what_it_read(self):
        # It read [], sent [1]; another made [9, 1] of it; now it wants [1, 2].
        edit = Edit(packed([1, 2]), packed([1]), packed([1]))
        settled = settle(record(fields={"a": packed([9, 1])}), update(edits={"a": edit}))
        assert codec.decode(settled.record.fields["a"]) == [9, 1, 2]

    def test_after_a_clear_nothing_is_merged(self):
        assert both([1], [1, 2], [1, 3], clear=True) == ([1, 3], APPLIED)
        assert both([1], [1, 2], [1, 3], clear=True, rule=merges.first) == ([1, 3], APPLIED)

    def test_of_assigned_values_the_later_is_the_whole_one(self):
        for theirs in ({"state": "theirs", "to": "x"}, ["x"], {"x"}):
            settled = settle(
                record(fields={"a": packed(theirs)}), update(set={"a": packed({"state": "ours"})})
            )
            assert codec.decode(settled.record.fields["a"]) == {"state": "ours"}

    def test_and_assignments_of_other_fields_both_stand(self):
        edit = Edit(packed([1, 2]), packed([1]), packed([1]))
        there = record(fields={"a": packed([1, 3]), "b": packed(1)})
        settled = settle(there, update(edits={"a": edit}, set={"c": packed(3)}, remove=frozenset({"b"})))
        assert settled.record.fields == {"a": packed([1, 3, 2]), "c": packed(3)}


def raising(base, theirs, ours):
    raise RuntimeError("a secret")


@pytest.mark.promise("M")
class TestRules:
    @pytest.mark.parametrize(
        ("base", "theirs", "ours", "value"),
        [(1, 5, 2, 6), (None, 3, 1, 4), (5, None, 6, 1), (1, 1, 2, 2)],
        ids=["both", "both began it", "removed meanwhile", "nobody else"],
    )
    def test_make_the_value_also_where_it_was_assigned(self, base, theirs, ours, value):
        told = () if theirs == base else ("a",)
        assert both(base, theirs, ours, rule=merges.add) == (value, Applied(merged=told))

    @pytest.mark.parametrize(
        "rule", [raising, lambda *_: object(), merges.add], ids=["raises", "made nothing", "add"]
    )
    def test_that_fail_leave_the_later_write_and_are_told(self, rule):
        assert both("x", "y", "z", rule=rule) == ("z", Applied(unmerged=("a",)))

    def test_are_given_nothing_else_than_what_lies_there(self):
        asked = []

        def rule(*values):
            asked.append(values)
            return values[-1]

        both([1], [1, 2], [1, 3], rule=rule)
        both(None, [2], [3], rule=rule)
        assert asked == [([1], [1, 2], [1, 3]), (None, [2], [3])]


@pytest.mark.promise("11")
class TestFlashes:
    NAMES = ("\0flash:3", "\0flash:1", "\0flash:2")

    @pytest.mark.parametrize(("limit", "left"), [(0, "123"), (1, "3"), (2, "23"), (3, "123"), (9, "123")])
    def test_beyond_the_limit_the_oldest_go_first(self, limit, left):
        fields = {"a": b"1", **dict.fromkeys(self.NAMES[:2], b"m")}
        after = record(fields=fields).apply(update(set={self.NAMES[2]: b"m"}, max_flashes=limit))
        assert sorted(after.fields) == [*(f"\0flash:{number}" for number in left), "a"]


@pytest.mark.promise("14")
class TestRotation:
    def test_at_random_ends_every_older_secret(self):
        after = record(previous=OLD, seen=NOW).apply(update(at=NOW + 5, rotate=Rotation(NEW)))
        assert (after.secret_hash, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, None, 0)

    def test_the_mark_changes_with_a_secret_at_random_and_with_no_other(self):
        derived = Rotation(NEW, b"mark", derived=True)
        assert record().apply(update(secret_hash=SECRET, rotate=derived)).mark == bytes(4)
        assert record().apply(update(rotate=Rotation(NEW, b"mark"))).mark == b"mark"
        assert record(mark=b"kept").apply(update()).mark == b"kept"

    @pytest.mark.parametrize(
        ("there", "brought", "rotated"),
        [(SECRET, NEW, True), (NEW, NEW, True), (OTHER, NEW, False)],
        ids=["it is first", "the same was first", "another ring was first"],
    )
    def test_derived_tells_whether_the_secret_is_the_one_that_it_brought(self, there, brought, rotated):
        it = record(secret_hash=there, previous=None if there == SECRET else SECRET)
        change = update(secret_hash=SECRET, rotate=Rotation(brought, derived=True))
        assert settle(it, change).answer.rotated is rotated

    def test_derived_keeps_the_old_secret_and_waits_until_the_new_one_is_seen(self):
        change = update(at=NOW + 5, secret_hash=SECRET, rotate=Rotation(NEW, derived=True))
        after = record(previous=OLD, seen=NOW).apply(change)
        assert (after.secret_hash, after.secret_at, after.previous, after.seen) == (NEW, NOW + 5, SECRET, 0)

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

    def test_a_permanent_session_has_the_longer_absolute_limit(self):
        start = NOW - LIMITS.absolute
        it = record(permanent=True, created=start).apply(update())
        assert it.expires == NOW + LIMITS.remember_idle

    def test_limits_of_its_own_hold_at_once_and_until_they_are_changed(self):
        it = record().apply(update(limits=(10, 20)))
        assert (it.idle, it.absolute, it.expires) == (10, 20, NOW + 10)
        assert it.apply(update(at=NOW + 5)).expires == NOW + 15
        assert it.apply(update(at=NOW + 5, limits=(0, 0))).expires == NOW + 5 + LIMITS.idle
        assert it.apply(update(at=NOW + 5, sign_in=SignIn("ada"))).absolute == 20
        longer = record().apply(update(limits=(10**9, 10**9)))
        assert longer.expires == NOW + 10**9

    def test_what_only_secrets_open_is_kept_as_it_is(self):
        it = record(sealed=b"sealed").apply(update(clear=True, sign_in=SignIn("ada")))
        assert it.sealed == b"sealed"

    def test_shorter_limits_are_in_force_with_the_next_change(self):
        shorter = Lifetimes(idle=10, absolute=20, remember_idle=30, remember_absolute=40)
        assert record().apply(update(lifetimes=shorter)).expires == NOW + 10


@pytest.mark.promise("12")
class TestSettle:
    def test_creating_puts_the_record_where_nothing_is(self):
        assert settle(None, Create(record())) == Settled(APPLIED, record())
        assert Create(record()).key == KEY

    @pytest.mark.parametrize("there", [record(), Tombstone(KEY, 1), Unreadable("damaged")])
    def test_creating_never_overwrites(self, there):
        assert settle(there, Create(record())) == Settled(Refused.EXISTS)

    @pytest.mark.parametrize("change", [update(), Destroy(key=KEY, at=NOW)])
    @pytest.mark.parametrize("there", [None, Tombstone(KEY, NOW + 1), record(expires=NOW)])
    def test_what_is_absent_ended_or_expired_is_gone(self, there, change):
        assert settle(there, change) == Settled(Refused.GONE)

    @pytest.mark.parametrize(
        "change",
        [
            update(),
            Destroy(key=KEY, at=NOW, holder=Holder("ada")),
            Destroy(key=KEY, at=NOW, holder=Holder(None)),
        ],
    )
    def test_what_can_not_be_read_is_left_alone(self, change):
        assert settle(Unreadable("damaged"), change) == Settled(Refused.UNREADABLE)

    @pytest.mark.parametrize("there", [Unreadable("damaged"), record(), record(user="ada", signed_in=NOW)])
    def test_an_unconditional_destroy_always_leaves_a_tombstone(self, there):
        settled = settle(there, Destroy(key=KEY, at=NOW))
        assert settled == Settled(APPLIED, Tombstone(KEY, NOW + TOMBSTONE_LIFE))

    @pytest.mark.parametrize(
        ("holder", "of_ada", "of_nobody"),
        [
            (Holder("ada"), True, False),
            (Holder("ada", NOW), True, False),
            (Holder("ada", NOW - 1), False, False),
            (Holder("ada", NOW + 1), False, False),
            (Holder("grace"), False, False),
            (Holder("grace", NOW), False, False),
            (Holder(None), False, True),
        ],
        ids=repr,
    )
    def test_a_destroy_is_for_the_holder_that_it_names_whatever_the_secret(self, holder, of_ada, of_nobody):
        change = Destroy(key=KEY, at=NOW, holder=holder)
        ended = Settled(APPLIED, Tombstone(KEY, NOW + TOMBSTONE_LIFE))
        for there, good in ((record(user="ada", signed_in=NOW), of_ada), (record(), of_nobody)):
            for secret in (SECRET, OTHER):
                settled = settle(replace(there, secret_hash=secret), change)
                assert settled == (ended if good else Settled(Refused.CHANGED))

    def test_an_update_puts_what_apply_says(self):
        change = update(set={"a": b"3"})
        assert settle(record(), change) == Settled(APPLIED, record().apply(change))

    def test_a_refused_update_puts_nothing(self):
        assert settle(record(), update(secret_hash=OTHER)) == Settled(Refused.CHANGED)

    def test_what_was_taken_is_given_back_as_it_was(self):
        settled = settle(record(), update(take=("b", "x"), set={"b": b"3"}))
        assert settled.answer == Applied({"b": b"2"})
        assert settled.state.fields == {"a": b"1", "b": b"3"}

    def test_what_was_taken_is_given_back_beside_what_was_merged(self):
        base, theirs, ours = (codec.encode([1, *more]) for more in ((), (2,), (3,)))
        it = record(fields={"a": b"1", "list": theirs})
        answer = settle(it, update(take=("a",), edits={"list": Edit(ours, base, base)})).answer
        assert answer == Applied({"a": b"1"}, merged=("list",))

    def test_after_clearing_nothing_is_taken(self):
        assert settle(record(), update(clear=True, take=("b",))).answer == Applied({})


@pytest.mark.parametrize(
    "struct",
    [
        record(fields={"name": b"swordfish"}, secret_hash=b"s" * 32, previous=b"s" * 32),
        Create(record(fields={"name": b"swordfish"}, secret_hash=b"s" * 32)),
        update(
            set={"name": b"swordfish"},
            edits={"other": Edit(b"swordfish", b"swordfish", b"swordfish")},
            secret_hash=b"s" * 32,
            rotate=Rotation(b"s" * 32),
        ),
        Edit(b"swordfish", b"swordfish", b"swordfish"),
        Rotation(b"s" * 32, derived=True),
        Applied({"name": b"swordfish"}),
        Settled(Applied({"name": b"swordfish"}), record(secret_hash=b"s" * 32)),
    ],
    ids=lambda struct: type(struct).__name__,
)
def test_no_repr_shows_a_value_or_a_secret(struct):
    assert "swordfish" not in repr(struct)
    assert "sss" not in repr(struct)
