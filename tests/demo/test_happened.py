"""The page that shows what the session layer did, and the line at the foot of each page."""

from __future__ import annotations

import re
import secrets

from msgspec.structs import replace

from coatcheck.demo.app import create_app
from coatcheck.demo.history import History
from coatcheck.demo.steps import Steps, redacted
from coatcheck.errors import StoreFull, StoreUnavailable
from coatcheck.model.format import encode
from coatcheck.model.ports import Conflict, Found, Write
from coatcheck.model.record import Record, Tombstone
from coatcheck.testing import StoreWrapper
from coatcheck.testing.wrappers import Call
from tests.behaviours.site import without_turns
from tests.demo.visitor import Visitor

A_RECORD = Record(key=bytes(16), secret_hash=bytes(32), secret_at=1, created=1, last_used=1, expires=2)


def every(write):
    """A call of each method, with its arguments."""
    return [
        ("load", [bytes(16)], 1, 0),
        ("write", [write], 1, 0),
        ("load", [bytes(16)], 1, 0),
        ("remove", [bytes(16)], 1, 0),
        ("note", [], 1, 0),
        ("sessions_of", "Ada", 1, 10, None, 0),
        ("index_may_be_incomplete", 0),
        ("forget", [], 0),
        ("count", 1, 0),
        ("sweep", 1, 10, 0),
        ("ping", 0),
        ("close",),
    ]


def written(after, before=None, *, told=None, answer=None):
    """The step that tells of a write."""
    told = [] if told is None else told
    steps = Steps(told.append)
    if before is not None:
        found = Found(encode(before, bytes(8)), bytes(8))
        steps.answered(Call("load", ([after.key], 1, 0)), [found], 1.0)
    expected = None if before is None else bytes(8)
    write = Write(key=after.key, data=encode(after, bytes(8)), expires=2, expected=expected)
    steps.answered(Call("write", ([write], 1, 0)), [answer], 1.0)
    return told[-1]


def test_only_so_many_records_are_remembered(monkeypatch):
    monkeypatch.setattr("coatcheck.demo.steps._MOST_REMEMBERED", 3)
    steps = Steps([].append)
    for number in range(8):
        key = bytes([number]) * 16
        found = Found(encode(replace(A_RECORD, key=key), bytes(8)), bytes(8))
        steps.answered(Call("load", ([key], 1, 0)), [found], 1.0)
        assert key in steps._known
        assert len(steps._known) <= 3


class Meanwhile(StoreWrapper):
    """Lets something happen right before the next write."""

    happens = None

    def around(self, call, send):
        if call.method == "write" and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return send()


def requests_on(page):
    """The requests that the page lists, each as what stands behind its "How"."""
    found = re.findall(r'<p class="call">.*?</details>', page.html, re.DOTALL)
    return [" ".join(re.sub("<[^>]+>", " ", one).split()) for one in found]


def test_a_stranger_reads_that_nothing_happened(visitor):
    page = visitor.get("/what-happened")
    assert "Nothing at all" in page.html
    assert page.cost == "This page: no round trip to the store, nothing written."


def test_looking_is_one_round_trip_and_writes_nothing(visitor):
    visitor.take()
    page = visitor.get("/basket")
    assert re.fullmatch(
        r"This page: 1 round trip to the store \(\d+\.\d\d ms\), \d+ bytes loaded, nothing written\.",
        page.cost,
    )


def test_taking_a_message_away_is_told_as_a_write(visitor):
    page = visitor.take()
    assert "2 round trips" in page.cost
    assert page.cost.endswith(" bytes written: took a message away, to be shown once.")


def test_a_session_that_is_used_again_after_a_while_is_noted_as_used(visitor, clock):
    visitor.take()
    clock.advance(2 * 60 * 60)
    page = visitor.get("/")
    assert page.cost.endswith(" bytes written: noted that the session is in use.")


def test_each_request_is_listed_with_its_round_trips_and_what_was_written(visitor):
    visitor.take("mac")
    visitor.take("scarf", "Moss")
    page = visitor.get("/what-happened")
    newest, *_, oldest = requests_on(page)
    assert newest.startswith("GET / 200")
    assert oldest.startswith("POST /basket/add 303")
    assert "began a session · set “basket:mac”, a message, the forms’ token" in oldest
    assert "bytes written" in oldest
    assert "Set-Cookie: coatcheck=…; Path=/; HttpOnly; SameSite=Lax" in oldest
    assert "Cache-Control: private, no-cache" not in oldest
    assert "no-store" in oldest
    assert "Vary: Cookie" in oldest
    second = requests_on(page)[1]
    assert "set “basket:scarf”, a message" in second
    assert "Set-Cookie" not in second


def test_signing_in_ending_and_the_rest_are_told_in_words(visitor, other):
    visitor.take("mac")
    visitor.sign_in(remember="yes")
    other.sign_in()
    visitor.get("/devices")
    visitor.submit("/devices/end")
    visitor.get("/basket")
    visitor.submit("/basket/change", {"good": "mac"}, remove="yes")
    told = " ".join(requests_on(visitor.get("/what-happened")))
    assert "signed in · changed the secret · will last · set a message, the forms’ token" in told
    assert "2 sessions of this user" in told
    assert "ended a session" in told
    assert "removed “basket:mac” · set a message" in told


def test_another_user_signing_in_is_told_as_removing_what_was_there(visitor):
    visitor.sign_in("Ada", remember="yes")
    visitor.take("mac")
    visitor.sign_in("Bob")
    told = " ".join(requests_on(visitor.get("/what-happened")))
    assert (
        "signed in · changed the secret · ends with the browser · removed “basket:mac” · set a message"
        in told
    )


def test_the_history_never_shows_a_token_nor_what_is_in_the_basket_of_others(visitor, other):
    visitor.take("mac")
    first = visitor.token
    visitor.sign_in()
    other.take("bowler", "58")
    page = visitor.get("/what-happened")
    assert first not in page.html
    assert visitor.token not in page.html
    assert visitor.page.form("/theme")["csrf"] not in " ".join(requests_on(page))
    assert "bowler" not in page.html


def test_the_history_is_not_in_the_session(visitor):
    visitor.take()
    sizes = set()
    for _ in range(30):
        sizes.add(re.search(r"(\d+) bytes loaded", visitor.get("/").cost)[1])
    assert len(sizes) == 1


def test_a_visitor_who_signed_out_leaves_no_history(app, visitor):
    visitor.sign_in()
    visitor.take("mac")
    visitor.get("/")
    visitor.submit("/sign-out")
    kept = app.extensions["coatcheck.demo"]
    told = " ".join(requests_on(visitor.get("/what-happened")))
    assert "basket:mac" not in told
    assert "began a session · set a message, the forms’ token · ended a session" in told
    assert len(kept._kept) == 1


def test_a_request_whose_session_ends_under_it_is_told_to_have_written_nothing(failing, clock):
    meanwhile = Meanwhile(failing)
    app = create_app(meanwhile, secret=secrets.token_urlsafe(32), insecure_http=True, clock=clock)
    without_turns(app.session_interface.sessions)
    visitor, other = Visitor(app), Visitor(app)
    visitor.sign_in()
    other.sign_in()
    other.get("/devices")
    visitor.get("/")
    kept = app.extensions["coatcheck.demo"]
    (handle,) = [handle for handle, requests in kept._kept.items() if requests[-1].path == "/"]
    meanwhile.happens = lambda: other.submit("/devices/end-others")
    page = visitor.submit("/basket/add", {"good": "mac"}, choice="M", follow=False)
    assert "Set-Cookie" not in page.response.headers
    assert visitor.get("/").text("user") is None
    assert kept.of(handle)[0].path == "/"  # the late request had no session any more to be filed under


def test_a_store_that_fails_is_told(visitor, failing):
    visitor.take("mac")
    visitor.get("/")
    failing.fail("write", error=StoreUnavailable("down", ambiguous=False))
    visitor.submit("/basket/add", {"good": "mac"}, choice="M")
    failing.recover()
    newest = requests_on(visitor.get("/what-happened"))[0]
    assert newest.startswith("POST /basket/add 503 nothing written")
    assert "failed: StoreUnavailable" in newest


def test_the_history_keeps_the_last_requests_of_the_last_visitors():
    history = History(visitors=2, requests=3)
    for number in range(5):
        history.keep("a", number)
    history.keep("b", 0)
    assert history.of("a") == [4, 3, 2]
    history.keep("a", 5)
    history.keep("c", 0)
    assert history.of("b") == []
    assert history.of("a") == [5, 4, 3]
    history.forget("a")
    history.forget("a")
    assert history.of("a") == []


def test_a_set_cookie_is_shown_without_its_value():
    assert redacted("set-cookie", "session=secret; HttpOnly") == "session=…; HttpOnly"
    assert redacted("Set-Cookie", "session=; Max-Age=0") == "session=; Max-Age=0"
    assert redacted("Set-Cookie", "odd") == "odd"
    assert redacted("Vary", "Cookie") == "Cookie"


def test_a_write_that_came_second_or_failed_is_told_as_nothing_written():
    for answer, said in (
        (Conflict(None), "another request wrote first: nothing written"),
        (StoreFull("no room"), "failed: StoreFull"),
    ):
        step = written(A_RECORD, answer=answer)
        assert (step.told, step.wrote, step.written) == ((said,), False, 0)


def test_a_session_that_begins_with_nothing_in_it_is_told_so():
    step = written(A_RECORD)
    assert step.told == ("began a session",)
    assert step.written == len(encode(A_RECORD, bytes(8)))


def test_a_tombstone_is_told_as_the_end_and_unreadable_data_of_a_user_as_an_epoch():
    assert written(Tombstone(bytes(16), 2), A_RECORD).told == ("ended a session",)
    told = []
    write = Write(key=bytes(16), data=b"an epoch, not a record", expires=2)
    Steps(told.append).answered(Call("write", ([write], 1, 0)), [None], 1.0)
    assert told[0].told == ("noted which sign-ins of the user count",)


def test_a_request_sees_its_own_part_of_a_batch():
    told = []
    keys = [bytes([number]) * 16 for number in range(3)]
    record = replace(A_RECORD, key=keys[0])
    found = Found(encode(record, bytes(8)), bytes(8))
    Steps(told.append).answered(Call("load", (keys, 1, 0)), [found, None, StoreUnavailable("down")], 1.0)
    (step,) = told
    assert step.told == ("1 record", "nothing there", "failed: StoreUnavailable")
    assert step.loaded == len(found.data)
    assert (step.of(keys[1:2]).told, step.of(keys[1:2]).loaded) == (("nothing there",), 0)
    assert step.of(keys) == step
    assert step.of([b"another"]) is None


def test_what_is_asked_of_the_store_outside_of_a_request_is_nobodys_history(app, visitor):
    visitor.take()
    before = len(requests_on(visitor.get("/what-happened")))
    assert app.session_interface.sessions.count() == 1
    assert len(requests_on(visitor.get("/what-happened"))) == before + 1
