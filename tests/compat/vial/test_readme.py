"""The examples of the old README, but for the import, the port, and what they showed wrongly."""

import pytest

from tests.servers.process import HOST

pytestmark = pytest.mark.servers


def test_establish_a_new_session(one_redis):
    from coatcheck.compat.vial import Vial

    vial = Vial(host=HOST, port=one_redis.port)

    session = vial.Session()
    assert session.id is None

    session.save()
    # It showed an id of 44 characters, as text. It has always been bytes, 344 of them.
    assert isinstance(session.id, bytes)

    # Add some more values to the session.
    session["color"] = "blue"
    session.save()

    # Fetch the session and check the value.
    assert vial.Session(id=session.id)["color"] == "blue"


def test_retrieve_an_existing_session(one_redis):
    from coatcheck.compat.vial import Vial

    vial = Vial(host=HOST, port=one_redis.port)
    known = vial.Session()
    known.save()

    session = vial.Session(id=known.id)

    # This will identify if the session is persisted in redis
    assert session.is_new is False


def test_a_session_of_a_user(one_redis, database):
    """The README has none. This is the way of the old tests: store, fetch, list, delete."""
    from coatcheck.compat.vial import Vial

    vial = Vial(host=HOST, port=one_redis.port, db=database)
    session = vial.UserSession()
    session.user = "12345"
    session.save()
    session = vial.UserSession(id=session.id)
    assert session.get("_user_id") == session.user == "12345"
    assert session.id.decode() in {id_.decode() for id_ in vial.get_for_user("12345")}
    vial.delete_for_user("12345")
    assert vial.UserSession(id=session.id).is_new
