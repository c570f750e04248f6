"""A running site that switches `revocation`, as the page on Redis says."""

import pytest

from coatcheck import Sessions
from tests.core.scene import BesideStore
from tests.visitor import SECRET

pytestmark = pytest.mark.promise("17")


def signed_in(sessions):
    session = sessions.open(b"")
    session.sign_in("ada")
    return sessions.close(session).set_cookie.partition(";")[0]


@pytest.fixture
def index():
    return Sessions(BesideStore(), secret=SECRET)


@pytest.fixture
def epoch(index):
    return index.with_settings(revocation="epoch")


def test_switching_to_epochs_signs_users_out_and_keeps_sessions_without_a_user(index, epoch):
    cookie = signed_in(index)
    session = index.open(b"")
    session["a"] = 1
    anonymous = index.close(session).set_cookie.partition(";")[0]
    assert epoch.open(cookie).user is None
    assert epoch.open(anonymous)["a"] == 1


def test_switching_back_signs_nobody_out(index, epoch):
    cookie = signed_in(epoch)
    assert index.open(cookie).user == "ada"
    assert index.revoke_user("ada") == 1
    assert index.open(cookie).user is None


@pytest.mark.parametrize("evicted", [False, True])
def test_switching_back_revives_what_only_the_epoch_had_ended(index, epoch, evicted):
    cookie = signed_in(epoch)
    if evicted:
        index.store.entries.clear()
    epoch.revoke_user("ada")
    assert epoch.open(cookie).user is None
    assert index.open(cookie).user == ("ada" if evicted else None)
