"""What each source takes for an id, and what it makes of records that are odd, broken or hostile."""

import base64
import json
import pickle
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import flask
import msgspec
import pytest
import redis
import redis.asyncio
from cryptography.fernet import Fernet
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import TimestampSigner
from markupsafe import Markup
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from starlette.datastructures import Secret

from coatcheck import ConfigurationError, DecodeError, Flash
from coatcheck.compat.pickles import LEFT_OUT
from coatcheck.migrate import DjangoSessions, FlaskCookie, FlaskSessionRecords, StarletteCookie, Starsessions

SECRET_KEY = "the-old-secret-key-of-the-site"
ID = "the-id-of-a-session"
NOW = datetime(2026, 11, 27, tzinfo=UTC).timestamp()


class Client:
    """As much of a client as the sources use."""

    execute_command = None
    left = -1  # milliseconds; for ever

    def __init__(self, **records):
        self.records = records

    def get_encoder(self):
        return redis.connection.Encoder("utf-8", "strict", decode_responses=False)

    def get(self, key):
        return self.records.get(key)

    def pttl(self, key):
        return self.left if key in self.records else -2

    def delete(self, key):
        self.records.pop(key, None)


def in_flask_session(data):
    return FlaskSessionRecords(Client(**{f"session:{ID}": data}))


def in_starsessions(data):
    return Starsessions(Client(**{f"starsessions.{ID}": data}))


def in_django(data):
    return DjangoSessions(Client(**{f":1:django.contrib.sessions.cache{ID}": data}))


# Ids


FLASK_ID = "k4tJgVb0yBz7mB2Q6fM0Y1aLrT9xw3Zd5HnKqWcEuI8"


@pytest.mark.parametrize(
    ("source", "good"),
    [
        (in_flask_session(b""), FLASK_ID),
        (in_flask_session(b""), "0b9f6a1e-6d0f-4a41-9a0d-2f1f6a8f3b11"),
        (in_starsessions(b""), "0b9f6a1e6d0f4a419a0d2f1f6a8f3b11"),
        (in_django(b""), "abcdefghij0123456789abcdefghij01"),
    ],
)
def test_an_id_is_what_the_library_makes_and_nothing_else(source, good):
    assert source.id_in(good) == good
    for bad in (
        "",
        "short",
        "x" * 256,
        f"{good}\n",
        f"{good} ",
        f"a:{good}",
        f"{good}*",
        "../../etc/passwd",
        "é" * 20,
    ):
        assert source.id_in(bad) is None


def test_djangos_ids_lead_to_no_key_of_another_engine():
    assert in_django(b"").id_in(f"d_db{'a' * 32}") is None


def test_a_signed_id_counts_only_with_its_signature():
    signed = FlaskSessionRecords(Client(), signed_with=SECRET_KEY)
    value = signed._signer.sign(FLASK_ID).decode()
    assert signed.id_in(value) == FLASK_ID
    for bad in (FLASK_ID, f"{value}x", value[:-1], f"x{value}"):
        assert signed.id_in(bad) is None


def flask_cookie(**fields):
    app = flask.Flask("old")
    app.secret_key = SECRET_KEY
    return SecureCookieSessionInterface().get_signing_serializer(app).dumps(fields)


def starlette_cookie(**fields):
    return TimestampSigner(SECRET_KEY).sign(base64.b64encode(json.dumps(fields).encode())).decode()


@pytest.mark.promise("12", "15")
@pytest.mark.parametrize(
    ("source", "make"),
    [(FlaskCookie(SECRET_KEY), flask_cookie), (StarletteCookie(SECRET_KEY), starlette_cookie)],
)
def test_all_spellings_of_a_signed_cookie_have_one_id(source, make):
    value = make(user="ada")
    known = source.id_in(value)
    assert source.read(known, NOW).fields == {"user": "ada"}
    signed, _, signature = value.rpartition(".")
    spellings = [f'"{value}"', f"{value}=", f"{value}==", f"{value}!", f"{value}\n"]
    spellings += [
        f"{signed}.{signature[:-1]}{last}"
        for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
    ]
    accepted = {source.id_in(each) for each in spellings}
    assert accepted == {None, known}
    for bad in ("", ".", "x.y.z", f"x{value}", value.replace(".", ".."), make(user="eve").rpartition(".")[0]):
        assert source.id_in(bad) is None


def test_a_signed_cookie_that_is_too_old_is_none(monkeypatch):
    values = flask_cookie(user="ada"), starlette_cookie(user="ada")
    sources = (
        FlaskCookie(SECRET_KEY, lifetime=timedelta(seconds=-1)),
        StarletteCookie(SECRET_KEY, max_age=timedelta(seconds=-1)),
    )
    assert [source.id_in(value) for source, value in zip(sources, values, strict=True)] == [None, None]
    assert StarletteCookie(SECRET_KEY, max_age=None).id_in(values[1]) is not None


def test_a_cookie_of_an_older_secret_counts_where_that_is_named():
    value = flask_cookie(user="ada")
    assert FlaskCookie("another-key").id_in(value) is None
    source = FlaskCookie("another-key", fallbacks=["one", SECRET_KEY, "three"])
    assert source.read(source.id_in(value), NOW).fields == {"user": "ada"}


# Records


class Own:
    pass


def test_an_object_of_the_applications_own_in_a_pickle_leaves_the_other_fields():
    for protocol in range(2, 6):  # as all these libraries write
        old = in_flask_session(pickle.dumps({"own": Own(), "user": "ada"}, protocol)).read(ID, NOW)
        assert old.fields == {"own": LEFT_OUT, "user": "ada"}


def test_no_name_in_a_pickle_is_looked_up(tmp_path):
    hostile = b"".join(
        b"cposix\nsystem\n(S'touch %s'\ntR0" % str(tmp_path / "made").encode() for _ in range(3)
    )
    with pytest.raises(DecodeError):
        in_flask_session(b"\x80\x02" + hostile + b".").read(ID, NOW)
    assert not list(tmp_path.iterdir())


def test_a_pickle_of_much_work_is_refused():
    """One tuple of many values, given to many objects that stay behind."""
    calls = b"cshop\nCart\nq\0(" + b"N" * 10_000 + b"tq\x01" + b"h\0h\1R" * 200
    with pytest.raises(DecodeError, match="too much work"):
        in_flask_session(b"\x80\x02}X\x04\0\0\0user(" + calls + b"ls.").read(ID, NOW)


BROKEN = [
    b"\xc1rubbish",
    b"{broken",
    b"[]",
    b"\x80",
    b"\x80\x04.",
    b"\x80\x09}.",
    b"null",
    b"1",
    b"\xff" * 100,
    b"",
]


@pytest.mark.promise("10", "18")
@pytest.mark.parametrize("data", BROKEN)
def test_a_record_that_is_none_is_told_without_what_is_in_it(data):
    for source in (in_flask_session(data), in_starsessions(data), in_django(data)):
        if source.name == "Flask-Session" and data == b"\x80":
            assert source.read(ID, NOW).fields == {}  # an empty map of MessagePack
            continue
        with pytest.raises(DecodeError) as raised:
            source.read(ID, NOW)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_no_record_is_no_session():
    for source in (in_flask_session(None), in_starsessions(None), in_django(None)):
        assert source.read(ID, NOW) is None


@pytest.mark.promise("16")
def test_a_session_of_django_ends_at_its_own_expiry():
    for seconds, lives in ((1, True), (0, False)):
        expiry = datetime.fromtimestamp(NOW + seconds, UTC).isoformat()
        old = in_django(pickle.dumps({"user": "ada", "_session_expiry": expiry})).read(ID, NOW)
        assert (old is not None) is lives


@pytest.mark.promise("16")
def test_a_lifetime_that_the_old_library_had_for_all_sessions_is_known():
    hour = timedelta(hours=1)
    flask_cookies, starlette_cookies = (
        FlaskCookie(SECRET_KEY, lifetime=hour),
        StarletteCookie(SECRET_KEY, max_age=hour),
    )
    for source, value in ((flask_cookies, flask_cookie(a=1)), (starlette_cookies, starlette_cookie(a=1))):
        assert source.read(source.id_in(value), NOW).longest_idle == hour
    record = b'{"a": 1, "__metadata__": {"lifetime": 3600}}'
    rolling = Starsessions(Client(**{f"starsessions.{ID}": record}), rolling=True).read(ID, NOW)
    assert (rolling.permanent, rolling.longest_idle, rolling.rest) == (True, hour, None)
    fixed = in_starsessions(record)
    fixed._records._client.left = 60_000
    assert fixed.read(ID, NOW).rest == timedelta(minutes=1)


@pytest.mark.promise("16")
def test_a_record_of_starsessions_that_expires_while_it_is_read_has_no_time_left():
    source = in_starsessions(b'{"a": 1, "__metadata__": {"lifetime": 3600}}')
    source._records._client.left = -2
    assert source.read(ID, NOW).rest == timedelta(0)


@pytest.mark.promise("16")
@pytest.mark.parametrize(
    ("expiry", "idle", "rest"),
    [
        (90.5, timedelta(seconds=90.5), None),
        (
            datetime.fromtimestamp(NOW, UTC) + timedelta(days=60),
            timedelta(days=60),
            timedelta(days=60),
        ),
    ],
)
def test_what_set_expiry_of_django_was_given_counts_as_with_ours(expiry, idle, rest):
    old = in_django(pickle.dumps({"user": "ada", "_session_expiry": expiry})).read(ID, NOW)
    assert (old.idle, old.rest, old.permanent, old.exceeds) == (idle, rest, True, True)


@pytest.mark.promise("16")
@pytest.mark.parametrize("ends_with_the_browser", [False, True])
def test_in_a_django_site_its_setting_says_whether_sessions_outlive_the_browser(
    monkeypatch, ends_with_the_browser
):
    site = SimpleNamespace(configured=True, SESSION_EXPIRE_AT_BROWSER_CLOSE=ends_with_the_browser)
    monkeypatch.setattr("django.conf.settings", site)
    record = pickle.dumps({"user": "ada"})
    assert in_django(record).read(ID, NOW).permanent is not ends_with_the_browser
    client = Client(**{f":1:django.contrib.sessions.cache{ID}": record})
    assert DjangoSessions(client, permanent=True).read(ID, NOW).permanent


def test_messages_of_flask_keep_their_markup_and_those_that_are_none_are_named():
    value = flask_cookie(
        user="ada", _flashes=[("info", Markup("<b>hi</b>")), ("error", "<no>"), ["three"], 3]
    )
    source = FlaskCookie(SECRET_KEY)
    old = source.read(source.id_in(value), NOW)
    assert old.flashes == [Flash("info", "<b>hi</b>", markup=True), Flash("error", "<no>")]
    assert [(flash.markup, type(flash.message)) for flash in old.flashes] == [(True, str), (False, str)]
    assert old.lost == ["a message"] * 2
    for broken in (None, 3, "text"):
        old = in_flask_session(msgspec.msgpack.encode({"user": "ada", "_flashes": broken})).read(ID, NOW)
        assert (old.fields, old.flashes, old.lost) == ({"user": "ada"}, [], ["a message"])


def test_the_secret_of_starlette_may_be_its_own_type():
    source = StarletteCookie(Secret(SECRET_KEY))
    assert source.id_in(starlette_cookie(user="ada")) is not None


def test_of_djangos_messages_those_that_are_none_are_passed_over():
    messages = json.dumps(
        [["__json_message", 1, 25, "hi"], ["__json_message", 0, 7], ["other", 0, 20, "no"], 3]
    )
    old = in_django(pickle.dumps({"user": "ada", "_messages": messages})).read(ID, NOW)
    assert old.flashes == [Flash("success", "hi", markup=True)]
    assert old.lost == ["a message"] * 3
    assert old.fields == {"user": "ada"}
    with pytest.raises(DecodeError):
        in_django(pickle.dumps({"user": "ada", "_messages": "[broken"})).read(ID, NOW)


@pytest.mark.parametrize("data", [b'{"a": 1, "__metadata__": null}', b'{"a": 1, "__metadata__": 3}'])
def test_a_record_of_starsessions_without_its_times_is_told(data):
    with pytest.raises(DecodeError):
        in_starsessions(data).read(ID, NOW)


def test_an_encrypted_record_of_starsessions_is_decrypted():
    fernet, another = Fernet(Fernet.generate_key()), Fernet(Fernet.generate_key())
    client = Client(**{f"starsessions.{ID}": fernet.encrypt(b'{"user": "ada"}')})
    assert Starsessions(client, decrypt=fernet.decrypt).read(ID, NOW).fields == {"user": "ada"}
    with pytest.raises(DecodeError):
        Starsessions(client, decrypt=another.decrypt).read(ID, NOW)


def test_an_extension_of_messagepack_is_a_value_that_stays_behind():
    data = msgspec.msgpack.encode({"user": "ada", "ext": msgspec.msgpack.Ext(5, b"x")})
    old = in_flask_session(data).read(ID, NOW)
    assert old.fields["user"] == "ada"


# Tables


@pytest.fixture
def engine(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path}/old.db")
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE sessions (id INTEGER, session_id TEXT COLLATE NOCASE, data BLOB, expiry DATETIME)"
            )
        )
    yield engine
    engine.dispose()


def stored(engine, key, data, expiry):
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO sessions VALUES (1, :key, :data, :expiry)"),
            {"key": key, "data": data, "expiry": expiry},
        )


@pytest.mark.parametrize(
    ("expiry", "lives"),
    [(None, False), ("2026-11-27 00:00:01.000000", True), ("2026-11-27 00:00:00.000000", False)],
)
def test_a_row_lives_until_its_expiry_in_utc(engine, expiry, lives):
    stored(engine, f"session:{ID}", msgspec.msgpack.encode({"user": "ada"}), expiry)
    source = FlaskSessionRecords(engine)
    assert (source.read(ID, NOW) is not None) is lives
    source.remove(ID)
    assert source.read(ID, NOW) is None


def test_a_database_that_takes_upper_for_lower_case_finds_nobody_elses_row(engine):
    stored(engine, f"session:{ID}", msgspec.msgpack.encode({"user": "ada"}), "2026-11-28 00:00:00.000000")
    assert FlaskSessionRecords(engine).read(ID, NOW).fields == {"user": "ada"}
    assert FlaskSessionRecords(engine).read(ID.upper(), NOW) is None


# What is no place of sessions


class OwnClient(redis.asyncio.Redis):
    """A class of the application's own; valkey's are of other modules, too."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlaskSessionRecords(redis.asyncio.Redis()), "synchronous client"),
        (lambda: FlaskSessionRecords(OwnClient()), "synchronous client"),
        (lambda: FlaskSessionRecords(redis.Redis(decode_responses=True)), "decode_responses"),
        (lambda: FlaskSessionRecords("redis://localhost"), "not in a str"),
        (lambda: FlaskSessionRecords(create_async_engine("postgresql+psycopg://")), "synchronous engine"),
        (lambda: DjangoSessions(create_engine("sqlite://")), "SECRET_KEY"),
        (lambda: Starsessions(redis.asyncio.Redis()), "synchronous client"),
    ],
    ids=["async client", "own async client", "decoding", "url", "async engine", "no key", "starsessions"],
)
def test_a_store_that_can_not_be_asked_is_refused_at_once(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
