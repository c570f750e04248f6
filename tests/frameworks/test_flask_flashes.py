"""Flask's flashed messages."""

import flask
import pytest
from markupsafe import Markup

from coatcheck import Sessions
from coatcheck.core import state
from coatcheck.frameworks import flask_messages
from coatcheck.model import codec
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import PausingStore, Race
from tests.behaviours.site import SECRET, without_turns
from tests.frameworks.flask_apps import fields_of, new_app, put, records_of, route

pytestmark = pytest.mark.promise("11")


def test_flashed_messages_come_with_their_categories_and_filters_and_each_has_a_field(
    app, client, sessions, clock
):
    def flash():
        flask.flash("plain")
        flask.flash("bad", "error")
        flask.flash("good", "info")
        return flask.session.handle or ""

    def show():
        get = flask.get_flashed_messages
        # Several calls in one request see the same.
        return [
            get(),
            get(with_categories=True),
            get(category_filter=["error", "info"]),
            get(category_filter=["none"]),
        ]

    route(app, flash, rule="/flash")
    route(app, show)
    for _ in range(2):
        clock.advance(1)
        client.get("/flash")
    ((key, _),) = records_of(sessions)
    assert sum(name.startswith("\0flash:") for name in fields_of(sessions, key)) == 6
    plain, with_categories, filtered, none = client.get("/").json
    assert plain == ["plain", "bad", "good"] * 2
    assert with_categories == [["message", "plain"], ["error", "bad"], ["info", "good"]] * 2
    assert filtered == ["bad", "good"] * 2
    assert none == []
    assert client.get("/").json == [[], [], [], []]
    assert fields_of(sessions, key) == {}


def test_messages_flashed_in_the_request_that_shows_them_are_shown_at_once_and_not_again(app, client):
    def view():
        flask.flash("now")
        return flask.get_flashed_messages()

    route(app, view)
    route(app, flask.get_flashed_messages, rule="/later")
    assert client.get("/").json == ["now"]
    assert client.get("/later").json == []


def test_a_request_that_shows_no_messages_keeps_them(app, client):
    route(app, lambda: flask.flash("hello") or "", rule="/flash")
    route(app, put(), rule="/put")
    route(app, flask.get_flashed_messages)
    client.get("/flash")
    client.get("/put")
    assert client.get("/").json == ["hello"]


def test_markup_stays_markup_and_what_is_none_is_escaped(app, client):
    class HtmlThing:
        def __html__(self):
            return "<i>thing</i>"

    def flash():
        flask.flash(Markup("<b>bold</b>"))
        flask.flash("<script>")
        flask.flash(HtmlThing())
        return ""

    def show():
        template = "{% for message in get_flashed_messages() %}{{ message }};{% endfor %}"
        return flask.render_template_string(template)

    route(app, flash, rule="/flash")
    route(app, show)
    client.get("/flash")
    assert client.get("/").text == "<b>bold</b>;&lt;script&gt;;<i>thing</i>;"


def test_a_lazily_translated_text_becomes_the_text_that_it_is_when_it_is_flashed(app, client):
    language = ["en"]

    class Lazy:
        def __str__(self):
            return {"en": "hello", "de": "hallo"}[language[0]]

    class Text(str):
        __slots__ = ()

    def flash():
        flask.flash(Lazy())
        flask.flash(Text("plain"))
        flask.flash({"id": 7})
        flask.flash(7)
        return ""

    route(app, flash, rule="/flash")
    route(app, flask.get_flashed_messages)
    client.get("/flash")
    language[0] = "de"
    assert client.get("/").json == ["hello", "plain", {"id": 7}, 7]


def test_the_list_that_flask_documents_can_be_used_by_hand(app, client):
    def view():
        session = flask.session
        flask.flash("one")
        assert "_flashes" in session
        assert session["_flashes"] == [("message", "one")]
        assert session.get("_flashes") == [("message", "one")]
        session["_flashes"] = [*session["_flashes"], ("info", "two")]  # added to
        assert [text for _, text in session["_flashes"]] == ["one", "two"]
        session["_flashes"] = [("info", "three")]  # put in place
        assert session["_flashes"] == [("info", "three")]
        assert list(session) == []
        assert session.pop("_flashes") == [("info", "three")]
        assert session.pop("_flashes", None) is None
        assert session.pop("_flashes") == []
        assert "_flashes" not in session
        with pytest.raises(KeyError):
            session["_flashes"]
        flask.flash("four")
        del session["_flashes"]
        assert session.get("_flashes") is None
        assert session.pop("absent", 7) == 7
        return "fine"

    route(app, view)
    assert client.get("/").text == "fine"


def test_clearing_the_session_removes_its_messages(app, client):
    route(app, lambda: flask.flash("hello") or "", rule="/flash")
    route(app, lambda: flask.session.clear() or "", rule="/clear")
    route(app, flask.get_flashed_messages)
    client.get("/flash")
    client.get("/clear")
    assert client.get("/").json == []


def test_flashing_more_leaves_the_messages_that_wait_where_they_are(app, client, store, sessions):
    route(app, lambda: flask.flash("hello") or "", rule="/flash")
    client.get("/flash")
    ((key, record),) = records_of(sessions)
    store.store.reset()
    client.get("/flash")
    assert store.store.sequence == ["load", "write"]
    assert fields_of(sessions, key).keys() > record.fields.keys()


def test_two_parallel_pages_never_both_show_a_message():
    pausing = PausingStore(MemoryStore())
    app = new_app(without_turns(Sessions(pausing, secret=SECRET)))
    route(app, lambda: flask.flash("hello") or "", rule="/flash")
    route(app, flask.get_flashed_messages)
    client = app.test_client()
    client.get("/flash")
    cookie = {"Cookie": f"__Host-session={client.get_cookie('__Host-session').value}"}
    with Race() as race:
        gates = [pausing.hold("write"), pausing.hold("write")]
        pages = [
            race.start(f"{n}", lambda: app.test_client(use_cookies=False).get("/", headers=cookie))
            for n in range(2)
        ]
        for gate in gates:
            gate.wait()
        for gate in gates:
            gate.open()
        shown = [message for page in pages for message in page.result().json]
    assert shown == ["hello"]


def counted(monkeypatch, module, name):
    """Counts the calls of a function from now on."""
    calls = []
    plain = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: calls.append(name) or plain(*given))
    return calls


def test_many_messages_of_a_request_cost_a_fixed_amount_each(app, client, monkeypatch):
    rows = 2_000

    def flash():
        for row in range(rows):
            flask.flash(f"row {row} is bad", "error")
        return f"{len(flask.session['_flashes'])} {flask.session['_flashes'][-1][1]}"

    route(app, flash)
    encoded = counted(monkeypatch, codec, "encode")
    read = counted(monkeypatch, state, "flash_from")
    shown = counted(monkeypatch, flask_messages, "shown")
    assert client.get("/").text == f"{rows} row {rows - 1} is bad"
    # Encoded when it is flashed, and, as any mutable value, compared with that at the end.
    assert (len(encoded), len(read), len(shown)) == (2 * rows, 0, rows)


def test_messages_that_come_and_go_by_other_ways_are_seen(app, client, sessions):
    def texts():
        return [text for _, text in flask.session.get("_flashes", [])]

    def view():
        session = flask.session
        flask.flash("one")
        session.flash("two")
        assert texts() == ["one", "two"]
        session["_flashes"].append(("info", "to a copy"))
        assert texts() == ["one", "two"]
        assert [flash.message for flash in sessions.take_flashes(session)] == ["one", "two"]
        session["other"] = session["another"] = 1  # as many changes as before
        assert texts() == []
        flask.flash("three")
        sessions.save(session)
        flask.flash(Markup("<b>"))
        assert texts() == ["three", Markup("<b>")]
        assert isinstance(session["_flashes"][1][1], Markup)
        session.clear()
        assert texts() == []
        flask.flash("four")
        assert texts() == ["four"]
        return "fine"

    route(app, view)
    assert client.get("/").text == "fine"
