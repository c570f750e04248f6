"""The identity field: code that never heard of `sign_in` signs in and out by setting it."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from uuid import UUID

import pytest

from coatcheck.core.calls import Apply
from coatcheck.core.state import Status
from coatcheck.errors import CannotSendCookie, ConfigurationError, NotStorable, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF
from coatcheck.model.record import Record, Tombstone
from tests.core.scene import DAY, HOUR, NOW, Scene, World, a_record, a_token, close, load, make_settings

pytestmark = pytest.mark.promise("V")

TOKEN = a_token()
SETTINGS = make_settings(identity="user_id")
CLEARED = SETTINGS.template.clear()


@pytest.fixture(params=["within", "beside", "none"])
def world(request):
    return World(SETTINGS, request.param)


@pytest.fixture(params=["within", "beside"])
def listed(request):
    return World(SETTINGS, request.param)


def stored(world, user=None, **fields):
    """A session of TOKEN; with a user, one who signed in by the field."""
    named = {} if user is None else {"user_id": user}
    return world.put(
        a_record(
            settings=world.settings,
            user=None if user is None else str(user),
            signed_in=0 if user is None else world.now,
            fields={**named, **fields},
        )
    )


def answered(world, change, *tokens, **how):
    visit = world.request(*tokens or (TOKEN,))
    change(visit.session)
    outcome = visit.close(**how)
    return visit, outcome


def user_at(world, token):
    return world.request(token).session.user


def of_user(world, user):
    return world.run(world.admin.of_user(user, world.now, 100, None))


# Signing in


def test_setting_the_field_is_a_sign_in_with_a_new_secret_and_keeps_the_anonymous_fields(world):
    stored(world, cart=["pear"])
    visit, outcome = answered(world, lambda session: session.update(user_id=7))
    assert outcome.set_cookie.startswith(f"{SETTINGS.template.name}={SETTINGS.ring.sign(visit.token)}")
    assert visit.token.secret != TOKEN.secret
    assert user_at(world, TOKEN) is None
    session = world.request(visit.token).session
    assert (session.user, dict(session)) == ("7", {"cart": ["pear"], "user_id": 7})
    assert world.kinds()[-1] == "signed_in"


def test_the_sign_in_is_listed_and_revoked_like_any_other(listed):
    visit, _ = answered(listed, lambda session: session.update(user_id=7), a_token(9))
    assert [record.key for record in of_user(listed, "7")] == [visit.token.key]
    assert listed.run(listed.admin.revoke_user("7", listed.now, None)) == 1
    assert user_at(listed, visit.token) is None


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("ada", "ada"),
        (7, "7"),
        (0, "0"),
        (-3, "-3"),
        (UUID(int=5), str(UUID(int=5))),
        ("x" * 255, "x" * 255),
        ("é", "é"),
    ],
)
def test_a_str_an_int_and_a_uuid_name_the_user(value, user):
    world = World(SETTINGS)
    visit, _ = answered(world, lambda session: session.update(user_id=value))
    assert user_at(world, visit.token) == user


class Name(StrEnum):
    ADA = "ada"


class Number(IntEnum):
    ADA = 7


@pytest.mark.parametrize(("value", "user"), [(Name.ADA, "ada"), (Number.ADA, "7")])
def test_what_an_enum_names_is_its_value(value, user):
    world = World(
        make_settings(identity=("user", lambda fields: Name.ADA if fields["id"] == "a" else Number.ADA))
    )
    visit, _ = answered(world, lambda session: session.update(user={"id": "a" if value is Name.ADA else "b"}))
    assert user_at(world, visit.token) == user


@pytest.mark.parametrize(
    "value", [True, False, 1.5, b"ada", ["ada"], {"id": 7}, "x" * 256, 10**300, "\ud800"]
)
def test_anything_else_is_refused_at_the_assignment_and_changes_nothing(value):
    scene = Scene(SETTINGS).holds(a_record(fields={"a": 1}))
    for assign in (
        lambda: scene.session.__setitem__("user_id", value),
        lambda: scene.session.setdefault("user_id", value),
        lambda: scene.session.update(user_id=value),
        lambda: scene.session.__ior__({"user_id": value}),
    ):
        with pytest.raises(TypeError, match=r"session\['user_id'\] names the user"):
            assign()
    assert dict(scene.session) == {"a": 1}
    assert close(scene).calls == []


def test_a_function_reads_the_id_out_of_the_value(world):
    world = World(make_settings(identity=("user", lambda user: user["id"])), world.store.index)
    visit, _ = answered(world, lambda session: session.update(user={"id": 7, "name": "Ada"}))
    assert user_at(world, visit.token) == "7"
    # The same user with another name is no sign-in.
    again, outcome = answered(world, lambda session: session["user"].update(name="A."), visit.token)
    assert (outcome.set_cookie, again.token.secret) == (None, visit.token.secret)
    # Another id inside the value is one.
    other, _ = answered(world, lambda session: session["user"].update(id=8), visit.token)
    assert user_at(world, visit.token) is None
    assert user_at(world, other.token) == "8"
    assert dict(world.request(other.token).session) == {"user": {"id": 8, "name": "A."}}


@pytest.mark.parametrize("read", [None, ""])
def test_a_function_that_finds_no_id_in_the_value_names_nobody(read):
    world = World(make_settings(identity=("user", lambda value: value["id"])), "within")
    visit, _ = answered(world, lambda session: session.__setitem__("user", {"id": read}))
    assert user_at(world, visit.token) is None
    assert world.request(visit.token).session["user"] == {"id": read}


def test_a_function_that_raises_is_raised_and_nothing_is_written(world):
    world = World(make_settings(identity=("user", lambda user: user["id"])), world.store.index)
    record = world.put(a_record(fields={"a": 1}))
    visit = world.request(TOKEN)
    with pytest.raises(KeyError):
        visit.session["user"] = {"name": "Ada"}
    assert "user" not in visit.session
    visit.session["user"] = user = {"id": 7}
    del user["id"]
    with pytest.raises(KeyError):
        visit.close()
    assert world.state_of(TOKEN.key) == record


def test_the_same_value_once_more_is_no_sign_in(world):
    stored(world, 7)
    visit, outcome = answered(world, lambda session: session.update(user_id="7"))
    assert (outcome.set_cookie, visit.token.secret) == (None, TOKEN.secret)
    assert user_at(world, TOKEN) == "7"


def test_another_user_gets_nothing_of_the_one_before_but_what_the_request_set(world):
    stored(world, 7, cart=["ada's"], language="de", **{CSRF: b"c" * 32})

    def signs_in(session):
        session["theme"] = "dark"
        session.flash("welcome")
        session["user_id"] = 8
        session["next"] = "/"

    visit, _ = answered(world, signs_in)
    session = world.request(visit.token).session
    assert (session.user, dict(session)) == ("8", {"theme": "dark", "user_id": 8, "next": "/"})
    assert [flash.message for flash in session.peek_flashes()] == ["welcome"]
    assert CSRF not in world.state_of(visit.token.key).fields
    assert user_at(world, TOKEN) is None


def test_an_explicit_sign_in_decides(world):
    stored(world, 7)

    def signs_in(session):
        session.sign_in("ada")
        session["user_id"] = 8

    visit, _ = answered(world, signs_in)
    assert user_at(world, visit.token) == "ada"


def test_clearing_and_setting_the_field_is_a_login_safe_from_fixation(world):
    """Flask's own tutorial."""
    stored(world, planted="by the attacker")

    def logs_in(session):
        session.clear()
        session["user_id"] = 7

    visit, _ = answered(world, logs_in)
    assert visit.token.key != TOKEN.key
    assert (user_at(world, TOKEN), user_at(world, visit.token)) == (None, "7")
    assert dict(world.request(visit.token).session) == {"user_id": 7}


# Signing out


SIGNS_OUT = {
    "pop": lambda session: session.pop("user_id"),
    "pop with a default": lambda session: session.pop("user_id", None),
    "del": lambda session: session.__delitem__("user_id"),
    "None": lambda session: session.update(user_id=None),
    "empty": lambda session: session.update(user_id=""),
    "clear": lambda session: session.clear(),
}


@pytest.mark.parametrize("how", SIGNS_OUT)
def test_without_the_field_the_session_is_over_in_every_browser_that_has_its_cookie(world, how):
    stored(world, 7, cart=["pear"])
    _, outcome = answered(world, SIGNS_OUT[how])
    assert outcome.set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)
    assert dict(world.request(TOKEN).session) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_what_the_request_set_survives_a_sign_out_whatever_the_order(world, order):
    stored(world, 7, cart=["pear"])

    def signs_out(session):
        for step in [lambda: session.pop("user_id"), lambda: session.flash("bye")][::order]:
            step()
        session["language"] = "de"

    visit, outcome = answered(world, signs_out)
    assert visit.token.key != TOKEN.key
    assert outcome.set_cookie.startswith(SETTINGS.template.name)
    session = world.request(visit.token).session
    assert (session.user, dict(session)) == (None, {"language": "de"})
    assert [flash.message for flash in session.peek_flashes()] == ["bye"]


def test_a_login_after_a_logout_by_pop_has_another_token(world):
    stored(world, 7)
    answered(world, lambda session: session.pop("user_id"))
    world.now += 40_000
    visit, _ = answered(world, lambda session: session.update(user_id=8))
    assert visit.token.key != TOKEN.key
    assert user_at(world, TOKEN) is None


def test_a_handler_that_raises_signs_out_and_never_in(world):
    stored(world, 7, a=1)
    answered(world, lambda session: session.update(user_id=8, a=2), failed=True)
    assert (user_at(world, TOKEN), world.state_of(TOKEN.key).fields) == (
        "7",
        a_record(fields={"user_id": 7, "a": 1}).fields,
    )
    answered(world, lambda session: session.pop("user_id"), failed=True)
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


def test_a_function_that_raises_does_not_hide_what_the_handler_raised(world):
    world = World(make_settings(identity=("user", lambda user: user["id"])), world.store.index)
    world.put(a_record(user="7", signed_in=NOW, fields={"user": {"id": 7}}))
    _, outcome = answered(world, lambda session: session["user"].clear(), failed=True)
    assert outcome.set_cookie is None
    assert user_at(world, TOKEN) == "7"


# CSRF tokens


BY_FIELD = {
    "in": lambda session: session.update(user_id=7),
    "over": lambda session: session.update(user_id=8),
    "out": lambda session: session.pop("user_id"),
    "clear": lambda session: session.clear(),
}


@pytest.mark.parametrize("how", BY_FIELD)
def test_a_token_in_the_page_that_signs_in_or_out_is_good_and_those_before_are_not(world, how):
    stored(world, *(() if how == "in" else (7,)))
    before, _ = answered(world, lambda session: session.csrf_token())
    visit = world.request(TOKEN)
    old = visit.session.csrf_token()
    BY_FIELD[how](visit.session)
    new = visit.session.csrf_token()
    visit.close()
    session = world.request(visit.token).session
    assert (session.check_csrf(new), session.check_csrf(old)) == (True, False)
    assert not session.check_csrf(before.session.csrf_token())


def test_the_same_user_once_more_renews_no_token(world):
    stored(world, 7)
    answered(world, lambda session: session.csrf_token())
    visit = world.request(TOKEN)
    old = visit.session.csrf_token()
    visit.session["user_id"] = "7"
    visit.close()
    assert world.request(TOKEN).session.check_csrf(old)


# Late requests


def test_a_remembered_login_that_was_under_way_does_not_undo_a_logout(world):
    stored(world, 7)
    late = world.request(TOKEN)
    late.session["user_id"] = 8
    answered(world, lambda session: session.sign_out())
    assert late.close().set_cookie is None
    assert world.kinds()[-1] == "dropped"
    assert world.store.count(world.now, 0) == 0


def test_nor_does_one_that_arrives_after_it(world):
    stored(world, 7)
    answered(world, lambda session: session.sign_out())
    _, outcome = answered(world, lambda session: session.update(user_id=7))
    assert outcome.set_cookie is None
    assert world.store.count(world.now, 0) == 0


@pytest.mark.parametrize("arrives", ["before", "after"])
def test_a_login_that_followed_clear_stands_after_a_logout(world, arrives):
    stored(world, 7)
    late = world.request(TOKEN)
    answered(world, lambda session: session.sign_out())
    late = late if arrives == "before" else world.request(TOKEN)
    late.session.clear()
    late.session["user_id"] = 8
    late.close()
    assert user_at(world, late.token) == "8"


def test_what_follows_clear_in_a_late_request_is_dropped_without_a_sign_in(world):
    stored(world, 7)
    late = world.request(TOKEN)
    answered(world, lambda session: session.sign_out())
    late.session.clear()
    late.session["a"] = 1
    assert late.close().set_cookie is None
    assert world.store.count(world.now, 0) == 0


@pytest.mark.parametrize("arrives", ["before", "after"])
def test_the_second_of_two_clicks_on_log_in_stands(world, arrives):
    stored(world, cart=["pear"])
    second = world.request(TOKEN)
    answered(world, lambda session: session.update(user_id=7))
    second = second if arrives == "before" else world.request(TOKEN)
    second.session["user_id"] = 7
    assert second.close().set_cookie is not None
    assert user_at(world, second.token) == "7"


def test_a_session_that_expired_under_the_login_is_no_logout(world):
    stored(world, a=1)
    visit = world.request(TOKEN)
    visit.session["user_id"] = 7
    world.now += 25 * HOUR
    visit.close()
    assert user_at(world, visit.token) == "7"


def test_after_the_head_a_sign_in_raises_and_a_sign_out_does_not(world):
    stored(world, a=1)
    visit = world.request(TOKEN)
    visit.session["user_id"] = 7
    with pytest.raises(CannotSendCookie):
        visit.close(head_sent=True)
    assert user_at(world, TOKEN) is None
    stored_again = World(SETTINGS, world.store.index)
    stored(stored_again, 7)
    answered(stored_again, lambda session: session.pop("user_id"), head_sent=True)
    assert isinstance(stored_again.state_of(TOKEN.key), Tombstone)


# Sessions from before the setting


def before_the_setting(world, **bookkeeping):
    """A record whose field names a user without a sign-in."""
    return world.put(a_record(fields={"user_id": 7, "cart": ["pear"]}, **bookkeeping))


def test_a_stored_field_without_a_user_is_entered_under_the_same_secret(listed):
    before_the_setting(listed, created=NOW - DAY // 2)
    visit, outcome = answered(listed, lambda session: session["cart"])
    assert (outcome.set_cookie, visit.token.secret) == (None, TOKEN.secret)
    record = listed.state_of(TOKEN.key)
    # Its absolute limit stays where it was.
    assert (record.user, record.signed_in, record.client) == ("7", NOW - DAY // 2, "Browser/1.0")
    assert [found.key for found in of_user(listed, "7")] == [TOKEN.key]
    assert listed.run(listed.admin.revoke_user("7", listed.now, None)) == 1
    assert user_at(listed, TOKEN) is None


def test_it_is_entered_once_and_every_parallel_request_goes_on(world):
    before_the_setting(world)
    requests = [world.request(TOKEN) for _ in range(4)]
    for number, visit in enumerate(requests):
        visit.session[f"field {number}"] = number
    closings = [world.until(visit.closing(), Apply) for visit in requests]
    for closing in closings:
        assert world.run(closing).set_cookie is None
    session = world.request(TOKEN).session
    assert session.user == "7"
    assert {f"field {number}" for number in range(4)} <= set(session)
    assert world.kinds().count("signed_in") == 1


def test_once_entered_a_read_writes_nothing_more(world):
    before_the_setting(world)
    answered(world, lambda session: session["cart"])
    before = world.state_of(TOKEN.key)
    answered(world, lambda session: session["cart"])
    assert world.state_of(TOKEN.key) is before or world.state_of(TOKEN.key) == before


def test_where_the_user_was_revoked_before_the_session_is_entered_and_counts(world):
    """The setting was not on then: the call could not mean it."""
    before_the_setting(world, created=NOW - HOUR)
    other, _ = answered(world, lambda session: session.update(user_id=7), a_token(9))
    world.run(world.admin.revoke_user("7", world.now, None))
    answered(world, lambda session: session["cart"])
    assert user_at(world, other.token) is None
    assert user_at(world, TOKEN) == "7"
    world.run(world.admin.revoke_user("7", world.now, None))
    assert user_at(world, TOKEN) is None


def test_a_logout_beside_the_entering_is_not_lost(world):
    before_the_setting(world)
    leaving = world.request(TOKEN)
    leaving.session.pop("user_id")
    closing = world.until(leaving.closing(), Apply)
    answered(world, lambda session: session["cart"])
    assert user_at(world, TOKEN) == "7"
    assert world.run(closing).set_cookie == CLEARED
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


def test_a_login_by_another_beside_a_logout_stands(world):
    before_the_setting(world)
    leaving = world.request(TOKEN)
    leaving.session.pop("user_id")
    closing = world.until(leaving.closing(), Apply)
    login, _ = answered(world, lambda session: session.update(user_id=8))
    assert world.run(closing).set_cookie is None
    assert user_at(world, login.token) == "8"


def test_another_users_login_clears_what_the_stored_field_named(world):
    before_the_setting(world)
    visit, _ = answered(world, lambda session: session.sign_in("8"))
    assert dict(world.request(visit.token).session) == {}


def test_a_stored_value_that_the_function_cannot_read_stays_as_it_is(world):
    world = World(make_settings(identity=("user_id", lambda user: user["id"])), world.store.index)
    before_the_setting(world)
    before = world.state_of(TOKEN.key)
    answered(world, lambda session: session["cart"])
    assert world.state_of(TOKEN.key) == before
    answered(world, lambda session: session.update(a=1))
    assert world.request(TOKEN).session["a"] == 1
    answered(world, lambda session: session.sign_out())
    assert isinstance(world.state_of(TOKEN.key), Tombstone)


UNREADABLE = make_settings(identity=("user", lambda user: user["sub"]))


@pytest.fixture
def unreadable(world):
    """A session whose field is from before the setting, and not of the kind that the function reads."""
    world = World(UNREADABLE, world.store.index)
    world.put(a_record(fields={"user": {"login": "ada"}, "cart": ["pear"]}))
    return world


def test_a_page_that_reads_an_unreadable_value_works(unreadable):
    visit, outcome = answered(unreadable, lambda session: session["user"])
    assert (outcome.set_cookie, visit.token.secret) == (None, TOKEN.secret)
    assert unreadable.kinds() == []
    answered(unreadable, lambda session: session["user"].update(name="Ada L."), TOKEN, failed=True)
    with pytest.raises(KeyError, match="sub"):
        answered(unreadable, lambda session: session["user"].update(name="Ada L."))


@pytest.mark.parametrize("how", ["pop", "None"])
@pytest.mark.parametrize("failed", [False, True])
def test_removing_an_unreadable_value_is_a_sign_out(unreadable, how, failed):
    logout = {"pop": lambda s: s.pop("user", None), "None": lambda s: s.update(user=None)}[how]
    answered(unreadable, logout, failed=failed)
    assert isinstance(unreadable.state_of(TOKEN.key), Tombstone)


@pytest.mark.parametrize("how", ["field", "explicit"])
def test_a_sign_in_over_an_unreadable_value_is_one_of_another_user(unreadable, how):
    login = {"field": lambda s: s.update(user={"sub": "7"}), "explicit": lambda s: s.sign_in("7")}[how]
    visit, _ = answered(unreadable, login)
    assert (user_at(unreadable, TOKEN), user_at(unreadable, visit.token)) == (None, "7")
    assert "cart" not in unreadable.request(visit.token).session


def test_what_an_attempt_to_save_implied_is_implied_anew_by_the_next(world):
    record = stored(world, a=1)
    visit = world.request(TOKEN)
    visit.session["user_id"] = 7
    visit.session["a"] = unstorable = []
    unstorable.append(object())
    for _ in range(2):
        with pytest.raises(NotStorable):
            visit.close()
    unstorable.clear()
    visit.session["user_id"] = 8
    visit.close()
    assert (user_at(world, TOKEN), user_at(world, visit.token)) == (None, "8")
    # And nothing, where the field is gone again.
    world = World(SETTINGS, world.store.index)
    world.put(record)
    visit = world.request(TOKEN)
    visit.session["user_id"] = 7
    visit.session["b"] = unstorable = []
    unstorable.append(object())
    with pytest.raises(NotStorable):
        visit.close()
    del visit.session["b"]
    del visit.session["user_id"]
    assert visit.close().set_cookie is None
    assert (user_at(world, TOKEN), dict(world.request(TOKEN).session)) == (None, {"a": 1})


def test_a_store_that_fails_while_entering_fails_no_read(listed):
    before_the_setting(listed)
    visit = listed.request(TOKEN)
    assert visit.session["cart"]

    def fails(*_):
        raise StoreUnavailable("down")

    listed.store.write = fails
    assert visit.close().set_cookie is None
    assert listed.kinds()[-1] == "unavailable"


# Outages


def test_a_default_of_nobody_is_no_logout_while_the_store_is_down():
    scene = Scene(SETTINGS).is_in(Status.OUTAGE)
    scene.state.failure = StoreUnavailable("down")
    assert scene.session.setdefault("user_id", None) is None
    assert scene.session.get("user_id") is None
    other = Scene(SETTINGS).is_in(Status.OUTAGE)
    other.state.failure = StoreUnavailable("down")
    for changes in (
        lambda: other.session.setdefault("user_id", 7),
        lambda: scene.session.update(user_id=7),
        lambda: scene.session.update(user_id=None),
        lambda: scene.session.pop("user_id", None),
        scene.session.clear,
    ):
        with pytest.raises(StoreUnavailable):
            changes()


# What can't be


def test_a_token_that_the_request_showed_after_its_sign_in_outlasts_the_same_sign_in_once_more(world):
    def in_words(session):
        session.sign_in("7")

    def in_the_field(session):
        session["user_id"] = 7

    for first in (in_words, in_the_field):
        visit = world.request()
        first(visit.session)
        token = visit.session.csrf_token()
        visit.session["user_id"] = "7"
        visit.close()
        assert world.request(visit.token).session.check_csrf(token)


def test_a_value_that_was_edited_into_no_user_can_be_assigned_anew(world):
    world = World(make_settings(identity=("user", lambda user: user["id"])), world.store.index)

    def change(session):
        session["user"] = {"id": 7}
        session["user"].clear()
        session["user"] = {"id": 8}

    visit, _ = answered(world, change)
    assert user_at(world, visit.token) == "8"


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_while_the_store_fails_nobody_signs_in_or_out_by_the_field(outage):
    scene = Scene(make_settings(identity="user_id", outage=outage)).comes_with(TOKEN)
    down = StoreUnavailable("down")
    load(scene, down)
    for act in (
        lambda: scene.session.__setitem__("user_id", 7),
        lambda: scene.session.setdefault("user_id", 7),
        lambda: scene.session.pop("user_id", None),
        lambda: scene.session.__delitem__("user_id"),
        scene.session.clear,
    ):
        scene.state.met = None
        with pytest.raises(StoreUnavailable):
            act()
        assert scene.state.met is down
    assert close(scene).calls == []


def test_taking_the_field_editing_it_and_setting_it_for_all_are_refused(listed):
    stored(listed, 7)
    visit = listed.request(TOKEN)
    with pytest.raises(ConfigurationError, match="sign_out"):
        listed.run(listed.requests.take(visit.state, listed.now, ["user_id"]))
    with pytest.raises(ConfigurationError, match="revoke_user"):
        listed.run(listed.admin.update_user("7", {"user_id": 8}, listed.now))
    for change in (lambda session: session.update(user_id=8), lambda session: session.pop("user_id")):
        scene = Scene(SETTINGS).edits(a_record(user="7", signed_in=NOW, fields={"user_id": 7}))
        change(scene.session)
        with pytest.raises(CannotSendCookie, match="revoke"):
            close(scene)
    assert user_at(listed, TOKEN) == "7"


def test_editing_other_fields_is_not(listed):
    stored(listed, 7)
    state = Scene(SETTINGS, listed.store.index, listed.dice).state
    listed.run(listed.admin.open_for_edit(state, listed.now, handle_of(TOKEN.key)))
    scene = Scene(SETTINGS, listed.store.index, listed.dice)
    scene.state, scene.session = state, type(scene.session)(lambda _: state)
    scene.session["user_id"] = 7
    scene.session["a"] = 1
    listed.run(listed.admin.close_edit(state, listed.now, handle_of(TOKEN.key)))
    assert listed.request(TOKEN).session["a"] == 1


def test_the_field_is_never_merged(world):
    world = World(make_settings(identity=("user", lambda user: user["id"])), world.store.index)
    world.put(a_record(user="7", signed_in=NOW, fields={"user": {"id": 7, "roles": []}}))
    first, second = world.request(TOKEN), world.request(TOKEN)
    first.session["user"]["roles"].append("a")
    second.session["user"]["roles"].append("b")
    first.close()
    second.close()
    assert world.request(TOKEN).session["user"]["roles"] == ["b"]


def test_a_record_that_nobody_entered_is_no_ones(world):
    """Without the setting, the field is a field."""
    world = World(index=world.store.index)
    before_the_setting(world)
    visit, outcome = answered(world, lambda session: session.update(user_id=8))
    assert (outcome.set_cookie, user_at(world, TOKEN)) == (None, None)
    record = world.state_of(visit.token.key)
    assert isinstance(record, Record)
    assert record.user is None
