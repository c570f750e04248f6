"""What is said to a Redis server, and how its replies are read. How it is sent is the business of each colour.

A conversation is a generator: it yields the commands of one round trip, and is sent their replies.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from struct import Struct as Layout
from typing import NamedTuple, TypeAlias, TypeVar

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Found, Life, Unreadable
from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Applied,
    Change,
    Create,
    Destroy,
    Record,
    Refused,
    Tombstone,
    Update,
    encode,
)
from coatcheck.stores import _redis_script as script
from coatcheck.stores._redis_errors import Said
from coatcheck.stores._redis_replies import Reply, answer_to, done, found, scores_of
from coatcheck.stores._redis_script import Script

__all__ = ["Command", "Talk", "Words", "packed"]

_T = TypeVar("_T")
Talk: TypeAlias = "Generator[Sequence[Command], Sequence[Reply], _T]"

_AT_ONCE = 128
"""How many keys go into one round trip where there may be any number."""
_LATE = 60_000
"""For how long (ms) an expired life stays in the index: another process's clock may be that much behind."""
_HEAD_SIZE = 74
"""The part of a record in front of what differs in length, in which its kind and its end stand."""
_UPDATE = Layout(">I16sQQQQQQII")
_DESTROY = Layout(">I16sQQ")
_URLSAFE = bytes.maketrans(b"+/", b"-_")


class Command(NamedTuple):
    """One command, as it goes out.

    Attributes:
        key: The key by which a cluster finds the server.
        data: Its bytes.
        writes: Whether it changes anything.
        again: Whether it may be sent again when it is not known whether it was done: doing it twice is the same.
        script: The script that it names.
        arguments: What that script is sent.
    """

    key: bytes
    data: bytes
    writes: bool = False
    again: bool = True
    script: Script | None = None
    arguments: tuple[bytes, ...] = ()

    def in_full(self) -> Command:
        """The same with the text of its script, for a server that does not know it."""
        assert self.script is not None
        return self._replace(data=packed(b"EVAL", self.script.text, *self.arguments))


def packed(*parts: bytes) -> bytes:
    """A command in the protocol of Redis (RESP: an array of bulk strings)."""
    pieces = [b"*%d\r\n" % len(parts)]
    pieces += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join(pieces)


class Words:
    """The commands of one store, all of whose keys begin with `prefix`."""

    def __init__(self, prefix: str, *, shortest_life: int = script.SHORTEST_LIFE) -> None:
        """Check the prefix.

        Raises:
            ConfigurationError: It is not a str of printable ASCII without spaces, or has braces, by which a cluster
                would put all sessions on one server.
        """
        if (
            not isinstance(prefix, str)
            or not prefix.isascii()
            or not prefix.isprintable()
            or len(prefix) > 200
        ):
            raise ConfigurationError("prefix must be a str of up to 200 printable ASCII characters")
        if set(prefix) & set("{} "):
            raise ConfigurationError(
                "prefix must not contain braces (by them a cluster picks the server) or spaces"
            )
        self._prefix = prefix.encode()
        size = len(self._prefix) + 22
        self._get = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b" % (size, self._prefix)
        self._when_full, self._unless_full = script.update_scripts(shortest_life)
        self._destroy, self._enroll, self._forget = (
            script.destroy_script(),
            script.enroll_script(),
            script.forget_script(),
        )
        self._shortest_life = shortest_life

    def name(self, key: bytes) -> bytes:
        """Where the record of `key` lies: the prefix, and the key in base64url."""
        return self._prefix + b2a_base64(key, newline=False)[:22].translate(_URLSAFE)

    def index(self, user: str) -> bytes:
        """Where a user's index lies. Hashed, so that no name of a user means anything to the server."""
        return self._prefix + b"user:" + hashlib.sha256(user.encode()).hexdigest().encode()

    def get(self, key: bytes) -> bytes:
        """The command that reads one record."""
        return b"%b%b\r\n" % (self._get, b2a_base64(key, newline=False)[:22].translate(_URLSAFE))

    def load(self, keys: Sequence[bytes], *, together: bool) -> Talk[Sequence[Found | StoreError]]:
        """What lies under each key; with `together`, by one command for all."""
        names = [self.name(key) for key in keys]
        if len(keys) == 1 or not together:
            replies = yield [Command(name, self.get(key)) for key, name in zip(keys, names, strict=True)]
            return [found(key, reply) for key, reply in zip(keys, replies, strict=True)]
        if not keys:
            return []
        # MGET says of what is no string that it is not there. EXISTS counts it: nearly always they agree.
        values, there = yield [
            Command(names[0], packed(b"MGET", *names)),
            Command(names[0], packed(b"EXISTS", *names)),
        ]
        if isinstance(values, Exception):
            return [found(key, values) for key in keys]
        answers = [found(key, value) for key, value in zip(keys, values, strict=True)]
        if there != sum(value is not None for value in values):
            doubtful = [place for place, value in enumerate(values) if value is None]
            replies = yield [Command(names[place], self.get(keys[place])) for place in doubtful]
            for place, reply in zip(doubtful, replies, strict=True):
                answers[place] = found(keys[place], reply)
        return answers

    def apply(self, changes: Sequence[Change]) -> Talk[Sequence[Applied | Refused | StoreError]]:
        """Apply each change by a command of its own, all in one round trip."""
        replies = yield from self._run(_in_their_order([self._command(change) for change in changes]))
        answers: list[Applied | Refused | StoreError] = []
        refused: list[int] = []
        for place, (change, reply) in enumerate(zip(changes, replies, strict=True)):
            if isinstance(reply, Said) and _asks_nothing(change):
                refused.append(place)
            answers.append(answer_to(change, reply))
        if refused:
            # A script may be refused where a plain DEL is not, and logging out must work whenever anything does.
            names = [self.name(changes[place].key) for place in refused]
            replies = yield [Command(name, packed(b"DEL", name), writes=True) for name in names]
            for place, reply in zip(refused, replies, strict=True):
                if isinstance(reply, int):
                    answers[place] = APPLIED if reply else Refused.GONE
        return answers

    def enroll(self, user: str, life: Life, expires: int) -> Talk[None]:
        """Enter a life into the index of its user, by a script that only ever moves forward."""
        longest = b"%d" % max(expires - life.signed_in, self._shortest_life)
        (reply,) = yield from self._run(
            [self._call(self._enroll, self.index(user), life.key, b"%d" % life.signed_in, longest)]
        )
        done(reply)

    def lives_of(self, user: str, now: int, *, together: bool) -> Talk[list[Life]]:
        """The live ones of the index, newest first; those of which nothing is left are taken out of it."""
        index = self.index(user)
        (reply,) = yield [Command(index, packed(b"ZRANGE", index, b"0", b"-1", b"WITHSCORES"))]
        scores = scores_of(done(reply))
        entered = list(scores)
        lives: list[Life] = []
        over: list[bytes] = []
        for start in range(0, len(entered), _AT_ONCE):
            keys = entered[start : start + _AT_ONCE]
            states = yield from self.load(keys, together=together)
            for key, state in zip(keys, states, strict=True):
                if isinstance(state, StoreError):
                    raise state  # without it the list would not be complete
                if isinstance(state, Record) and state.user == user and now < state.expires:
                    lives.append(Life(key, state.signed_in))
                elif not isinstance(state, Unreadable) and not (
                    isinstance(state, Record) and state.user == user and now < state.expires + _LATE
                ):
                    over.append(key)
        for start in range(0, len(over), _AT_ONCE):
            pairs = [part for key in over[start : start + _AT_ONCE] for part in (key, b"%d" % scores[key])]
            # Best effort: the next call comes by them again.
            yield from self._run([self._call(self._forget, index, *pairs)])
        return sorted(lives, key=lambda life: (-life.signed_in, life.key))

    def walk(self, cursor: bytes) -> bytes:
        """The command for the next stretch of all keys, from `cursor` on, on one server."""
        pattern = b"".join(b"\\%c" % byte if byte in b"*?[]^-\\" else b"%c" % byte for byte in self._prefix)
        return packed(b"SCAN", cursor, b"MATCH", pattern + b"?" * 22, b"COUNT", b"1000")

    def heads(self, names: Iterable[bytes]) -> list[Command]:
        """The commands for the heads of what lies there."""
        last = b"%d" % (_HEAD_SIZE - 1)
        return [Command(name, packed(b"GETRANGE", name, b"0", last)) for name in names]

    def live_among(self, names: Sequence[bytes], replies: Sequence[Reply], now: int) -> int:
        """How many of the heads are those of live records."""
        return sum(self._is_live(name, reply, now) for name, reply in zip(names, replies, strict=True))

    def _is_live(self, name: bytes, head: Reply, now: int) -> bool:
        if isinstance(head, StoreError):
            raise head
        if not isinstance(head, bytes) or len(head) < _HEAD_SIZE or head[0] != 1 or head[1] > 7:
            return False
        return self.name(head[2:18]) == name and now < int.from_bytes(head[68:74])

    def _command(self, change: Change) -> Command:
        match change:
            case Create(record=record):
                life = max(record.expires - record.last_used, self._shortest_life)
                name = self.name(record.key)
                return Command(
                    name,
                    packed(b"SET", name, encode(record), b"NX", b"PX", b"%d" % life),
                    writes=True,
                    again=False,
                )
            case Destroy():
                flags = (change.user is not None) | (change.signed_in is not None) << 1
                head = _DESTROY.pack(flags, change.key, change.at, change.signed_in or 0)
                tombstone = encode(Tombstone(change.key, change.at + TOMBSTONE_LIFE))
                return self._call(
                    self._destroy, self.name(change.key), head, tombstone, (change.user or "").encode()
                )
            case Update():
                return self._update(change)

    def _update(self, change: Update) -> Command:
        flags, limits, rotate = 0, change.lifetimes, change.rotate
        parts: list[bytes] = []
        if change.secret is not None:
            flags |= 1
            parts.append(change.secret)
        if change.user is not None:
            flags |= 2
            parts.append(change.user.encode())
        flags |= change.clear << 2 | change.touch << 3 | change.seen << 4
        if change.permanent is not None:
            flags |= 32 | change.permanent << 6
        if rotate is not None:
            flags |= 256 | rotate.derived << 9
            parts.append(rotate.secret)
        if change.sign_in is not None:
            flags |= 128
            parts += [change.sign_in.user.encode(), change.sign_in.client.encode()]
        parts += [name.encode() for name in change.remove]
        parts += [name.encode() for name in change.take]
        for name, value in change.set.items():
            parts += [name.encode(), value]
        head = _UPDATE.pack(
            flags,
            change.key,
            change.at,
            limits.idle,
            limits.absolute,
            limits.remember_idle,
            limits.remember_absolute,
            change.grace,
            len(change.remove),
            len(change.take),
        )
        # What puts in more than it takes out must not fill the last of the memory: others need it for logging out.
        grows = change.set or change.sign_in is not None
        return self._call(
            self._unless_full if grows else self._when_full,
            self.name(change.key),
            head,
            *parts,
            again=not change.take and change.sign_in is None and (rotate is None or rotate.derived),
        )

    def _call(self, called: Script, key: bytes, *arguments: bytes, again: bool = True) -> Command:
        arguments = (b"1", key, *arguments)
        data = packed(b"EVALSHA", called.sha, *arguments)
        return Command(key, data, writes=True, again=again, script=called, arguments=arguments)

    def _run(self, commands: Sequence[Command]) -> Talk[Sequence[Reply]]:
        """The replies, after those whose script the server did not know were sent with its text."""
        replies = yield commands
        unknown = [
            place
            for place, reply in enumerate(replies)
            if isinstance(reply, Said) and reply.code == "NOSCRIPT"
        ]
        if not unknown:
            return replies
        replies = list(replies)
        answers = yield [commands[place].in_full() for place in unknown]
        for place, answer in zip(unknown, answers, strict=True):
            replies[place] = answer
        return replies


def _in_their_order(commands: list[Command]) -> list[Command]:
    """The same, so that several changes of one key are done in their order also by a server that knows no script.

    A script that it does not know is sent again after all the rest. So what is asked of one key more than once names
    no script before it has been sent in full.
    """
    if len(commands) == 1:
        return commands
    times = Counter([command.key for command in commands])
    if len(times) == len(commands):
        return commands
    sent: set[tuple[bytes, bytes]] = set()
    ordered: list[Command] = []
    for command in commands:
        named = command.script
        if named is not None and times[command.key] > 1 and (command.key, named.sha) not in sent:
            sent.add((command.key, named.sha))
            ordered.append(command.in_full())
        else:
            ordered.append(command)
    return ordered


def _asks_nothing(change: Change) -> bool:
    return isinstance(change, Destroy) and change.user is None and change.signed_in is None
