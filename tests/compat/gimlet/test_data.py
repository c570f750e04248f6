"""What gimlet 0.5.2 really wrote on Python 3.6 (tests/compat/data/gimlet36.json) is read, and goes on living."""

import base64
import hmac
import json
import pickle
import sqlite3
import zlib
from contextlib import closing
from hashlib import sha1
from pathlib import Path

import pytest

from coatcheck.compat.gimlet.backends.sql import SQLBackend
from tests.compat.gimlet.conftest import Visitor

WRITTEN = json.loads((Path(__file__).parents[1] / "data" / "gimlet36.json").read_text())
CASES = {case["title"]: case for case in WRITTEN["cases"]}
CLIENT_ONLY = [title for title, case in CASES.items() if not {"redis", "rows"} & case.keys()]
DATA = WRITTEN["data"]

pytestmark = pytest.mark.xdist_group("gimlet")


def visitor(title, **options):
    case = CASES[title]
    key = WRITTEN["encryption_key"] if case.get("encrypted") else None
    return Visitor(case["cookies"], secret=WRITTEN["secret"], encryption_key=key, **options)


def expected(case, side):
    """What is in each channel."""
    big = {"big": "x" * case["big"]} if "big" in case else {}
    values = {**DATA, **big, "cs": 2, "perm": 1}
    return {channel: {key: values[key] for key in keys} for channel, keys in case[side].items()}


def is_as_written(session, case):
    client, server = expected(case, "client"), expected(case, "server")
    for name, channel in session.channels.items():
        channel.backend_read()
        assert channel.id.decode() == case["ids"][name]
        assert channel.created_timestamp == case["created"][name]
        assert channel.client_data.keys() == client[name].keys()
        assert {key: value for key, value in channel.client_data.items() if key != "big"} == {
            key: value for key, value in client[name].items() if key != "big"
        }
        assert channel.backend_data == server[name]
        assert len(channel.client_data.get("big", "")) == len(client[name].get("big", ""))


@pytest.mark.parametrize("title", CLIENT_ONLY)
def test_each_cookie_that_gimlet_wrote_is_read(title):
    """[KEEP] 1.8 wire format: plain, compressed, encrypted."""
    is_as_written(visitor(title).arrive(), CASES[title])


@pytest.mark.parametrize("title", CLIENT_ONLY)
def test_each_cookie_is_written_anew_when_the_session_is_used_and_says_the_same(title):
    """[FIX] 1.8: new cookies hold no pickle, no ECB; the session goes on under its id."""
    came = visitor(title)
    before = dict(came.cookies)
    came.visit()
    assert came.sent == set(), "an untouched request costs nothing"
    came.visit(len)
    assert came.sent == {"gimlet-n", "gimlet-p"}
    assert "." not in came.cookies["gimlet-n"] + came.cookies["gimlet-p"]
    assert came.cookies.keys() == before.keys()
    is_as_written(came.arrive(), CASES[title])
    came.visit(len)
    assert came.sent == set()


def test_records_that_gimlet_wrote_to_redis_are_read_and_get_an_expiry(redis_backend, raw):
    """[KEEP] 1.9 RedisBackend's key and value. [FIX] records live for ever."""
    case = CASES["redis backend"]
    for key, value in case["redis"].items():
        raw.set(key, base64.b64decode(value))
    came = visitor("redis backend", backend=redis_backend)
    is_as_written(came.arrive(), case)
    assert {raw.ttl(key) for key in case["redis"]} == {-1}
    came.visit(lambda session: session["cart_id"])
    assert all(raw.ttl(key) > 0 for key in case["redis"])
    came.visit(lambda session: session.update(cart_id=1))
    nonperm = "gimlet." + case["ids"]["nonperm"]
    assert raw.get(nonperm).startswith(b"\0cg1"), "the safe form"
    assert came.visit(dict) == {**DATA, "cart_id": 1, "cs": 2, "perm": 1}


@pytest.fixture
def old_table(tmp_path):
    """A SQLite database as gimlet made it, with what it wrote: the keys are blobs."""
    case, path = CASES["sql backend"], tmp_path / "gimlet36.sqlite"
    with closing(sqlite3.connect(path)) as database:
        for statement in case["schema"]:
            database.execute(statement)
        for number, key, data in case["rows"]:
            raw_key = base64.b64decode(key.removeprefix("blob:"))
            database.execute(
                "INSERT INTO gimlet_channels VALUES (?, ?, ?)", (number, raw_key, base64.b64decode(data))
            )
        database.commit()
    return path


def test_rows_that_gimlet_wrote_are_read_and_written_in_its_own_table(old_table, caplog):
    """[KEEP] 1.9: on SQLite the key is a blob when Python 3 wrote it."""
    case = CASES["sql backend"]
    with closing(SQLBackend(f"sqlite:///{old_table}")) as backend:
        assert "ALTER TABLE gimlet_channels ADD COLUMN expires BIGINT NULL" in caplog.text
        came = visitor("sql backend", backend=backend)
        is_as_written(came.arrive(), case)
        came.visit(lambda session: session.update(cart_id=1))
        assert came.visit(dict) == {**DATA, "cart_id": 1, "perm": 1}
        assert backend.sweep() == 0
    with closing(sqlite3.connect(old_table)) as database:
        rows = database.execute("SELECT key, data FROM gimlet_channels ORDER BY id").fetchall()
    assert len(rows) == 2, "no second row beside the old one"
    assert rows[0][1] == base64.b64decode(case["rows"][0][2]), "what was not changed was not written"


def test_rows_with_text_keys_as_python_2_wrote_them_are_read_as_well(old_table):
    """[KEEP] 1.9: look up both."""
    with closing(sqlite3.connect(old_table)) as database:
        database.execute("UPDATE gimlet_channels SET key = CAST(key AS TEXT)")
        database.commit()
    with closing(SQLBackend(f"sqlite:///{old_table}")) as backend:
        is_as_written(visitor("sql backend", backend=backend).arrive(), CASES["sql backend"])


def gimlet_reads(cookie, secret, key=None):
    """A cookie's client data as gimlet reads it: from the description of the format alone, with a real unpickler."""
    body, _, signature = cookie.encode().rpartition(b".")
    derived = sha1(b"itsdangerous" + b"signer" + secret.encode()).digest()
    assert unpadded(hmac.digest(derived, body, "sha1")) == signature
    payload = base64.urlsafe_b64decode(body.lstrip(b".") + b"===")
    payload = zlib.decompress(payload) if body.startswith(b".") else payload
    if key is not None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        decryptor = Cipher(algorithms.AES(bytes.fromhex(key)), modes.ECB()).decryptor()
        payload = (decryptor.update(payload) + decryptor.finalize()).rstrip(b"\0")
    return (
        payload[:16].hex(),
        int.from_bytes(payload[16:20], "little", signed=True),
        pickle.loads(payload[20:]),
    )


def unpadded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


@pytest.mark.parametrize("title", CLIENT_ONLY)
def test_side_by_side_writes_cookies_that_gimlet_reads(title):
    """[KEEP] 1.8 wire format, written."""
    case = CASES[title]
    came = visitor(title, side_by_side=True)
    came.visit(lambda session: [session.set("more", ["é", 1], permanent=p) for p in (True, False)])
    key = WRITTEN["encryption_key"] if case.get("encrypted") else None
    told = gimlet_reads(came.cookies["gimlet-n"], WRITTEN["secret"], key)
    wanted = {**expected(case, "client")["nonperm"], "more": ["é", 1]}
    assert told[:2] == (case["ids"]["nonperm"], case["created"]["nonperm"])
    assert {name: value for name, value in told[2].items() if name != "big"} == {
        name: value for name, value in wanted.items() if name != "big"
    }


def test_side_by_side_writes_the_signature_that_itsdangerous_makes():
    from itsdangerous import URLSafeSerializer

    class Raw:
        @staticmethod
        def loads(payload):
            return payload

        @staticmethod
        def dumps(payload):
            return payload

    came = Visitor(secret=WRITTEN["secret"], side_by_side=True)
    came.visit(lambda session: session.update(a=1))
    original = URLSafeSerializer(WRITTEN["secret"], serializer=Raw)
    payload = original.loads(came.cookies["gimlet-n"])
    assert pickle.loads(payload[20:]) == {"a": 1}
    assert original.dumps(payload).decode() == came.cookies["gimlet-n"]


def test_side_by_side_writes_records_that_gimlet_reads(redis_backend, raw):
    came = Visitor(backend=redis_backend, side_by_side=True)
    came.visit(lambda session: session.update(DATA))
    session = came.arrive()
    value = raw.get(b"gimlet." + session.channels["nonperm"].id)
    assert pickle.loads(value) == DATA
    assert value[:2] == b"\x80\x02", "protocol 2, which Python 2 reads"
    assert came.again(side_by_side=False).visit(dict) == DATA


def test_side_by_side_on_sqlite_writes_the_blob_keys_that_gimlet_looks_for(old_table):
    with closing(SQLBackend(f"sqlite:///{old_table}", side_by_side=True)) as backend:
        came = Visitor(backend=backend, side_by_side=True)
        came.visit(lambda session: session.update(a=1))
        nonperm = came.arrive().channels["nonperm"].id
    with closing(sqlite3.connect(old_table)) as database:
        (row,) = database.execute("SELECT data FROM gimlet_channels WHERE key = ?", (nonperm,))
    assert pickle.loads(row[0]) == {"a": 1}


def test_a_visitor_may_go_to_and_fro_between_old_and_new_servers():
    """What the new server seals only it can read; so servers run side by side first, and seal when the old are gone."""
    came = visitor("clientside, nonperm", side_by_side=True)
    came.visit(lambda session: session.update(cart_id=2))
    gimlet_reads(came.cookies["gimlet-n"], WRITTEN["secret"])
    later = came.again(side_by_side=False)
    assert later.visit(lambda session: session["cart_id"]) == 2
    assert "." not in later.cookies["gimlet-n"]
    back = later.again(side_by_side=True)
    assert back.visit(lambda session: session["cart_id"]) == 2
    gimlet_reads(back.cookies["gimlet-n"], WRITTEN["secret"])
