"""vial's use of Redis: the keys, the connections, and four scripts.

Each script is one round trip and atomic. The layout is that of the old library::

    <namespace>:session:<id>    HASH    field -> text; _created, _accessed, _user_id
    <namespace>:user:<user>     SET     the keys of the user's sessions

New: a user's set expires together with the user's last session, and ended sessions are removed from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from typing import Any

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import NoScriptError
    from redis.retry import Retry
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without redis
    raise ModuleNotFoundError("coatcheck.compat.vial needs redis: pip install 'coatcheck[redis]'") from _error

__all__ = ["DELETE_ALL", "GONE", "LIST", "LOAD", "SAVE", "TAKEN", "client", "key_of", "text_of"]

_PATIENCE = 5.0  # the timeout of a command in seconds; the old library had none

GONE = 0
"""`SAVE` wrote nothing: the record does not exist any more."""
TAKEN = -1
"""`SAVE` wrote nothing: the new key already exists."""


def client(host: str, port: int, db: int) -> redis.Redis:
    """A new client on the pool of connections that all clients of this database share."""
    return redis.StrictRedis(connection_pool=_pool(host, port, db))


@lru_cache(maxsize=32)
def _pool(host: str, port: int, db: int) -> redis.ConnectionPool:
    # One retry replaces a connection that was closed while it was idle. More would only prolong an outage.
    return redis.ConnectionPool(
        host=host, port=port, db=db, socket_timeout=_PATIENCE, retry=Retry(NoBackoff(), 1)
    )


def key_of(namespace: str | None, kind: str, name: object) -> bytes:
    start = b"" if not namespace else text_of(namespace) + b":"
    return start + kind.encode() + b":" + text_of(name)


def text_of(value: object) -> bytes:
    """A name or value as stored in Redis: its str in UTF-8, or the bytes unchanged."""
    return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode()


class _Script:
    def __init__(self, *parts: str) -> None:
        self._text: str = "\n".join(parts)
        self._name: str = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def __call__(
        self, connection: redis.Redis, keys: Sequence[bytes], arguments: Sequence[bytes | str | int]
    ) -> Any:
        ask: Any = connection
        rest = (len(keys), *keys, *arguments)
        # Values are needed as bytes, also from a client with decode_responses=True.
        try:
            return ask.execute_command("EVALSHA", self._name, *rest, NEVER_DECODE=True)
        except NoScriptError:  # the server's first time, or it was restarted
            return ask.execute_command("EVAL", self._text, *rest, NEVER_DECODE=True)


# A key of another type belongs to another program that uses the same names, and is not a session.
_IS_LIVE = """
local function is_live(key)
  return redis.call('TYPE', key).ok == 'hash'
end
"""

# A set must outlive each session in it, or `delete_for_user` would miss one. A life of -1 means no expiry.
_SETS = """
local function lives_for(set, life, for_ever)
  if for_ever or life < 0 then
    redis.call('PERSIST', set)
  elseif life > 0 then
    redis.call('PEXPIRE', set, life)
  end
end

local function tidy(set, members)
  local live, longest = {}, 0
  for _, key in ipairs(members) do
    if is_live(key) then
      local left = redis.call('PTTL', key)
      live[#live + 1] = key
      longest = (left < 0 or longest < 0) and -1 or math.max(left, longest)
    else
      redis.call('SREM', set, key)
    end
  end
  return live, longest
end
"""

# ARGV: the prefix of the keys of users' sets ('': sessions have no users), the life of a session in milliseconds (0: no
# expiry), the life of a session with a user, whether sets don't expire.
_SESSION = """
local users, for_ever = ARGV[1], ARGV[4] == '1'

local function user_of(key)
  return users ~= '' and redis.call('HGET', key, '_user_id')
end

local function slide(key)
  local user = user_of(key)
  local life = tonumber(user and ARGV[3] or ARGV[2])
  if life > 0 then
    redis.call('PEXPIRE', key, life)
  else
    redis.call('PERSIST', key)
    life = -1
  end
  if user then
    local left = redis.call('PTTL', users .. user)
    if left >= 0 and (for_ever or life < 0 or life > left) then
      lives_for(users .. user, life, for_ever)
    end
  end
  return user
end
"""

LOAD = _Script(
    _IS_LIVE,
    _SETS,
    _SESSION,
    """
if not is_live(KEYS[1]) then
  return {}
end
slide(KEYS[1])
return redis.call('HGETALL', KEYS[1])
""",
)
"""Read all fields of a session and renew its expiry. KEYS: the session. ARGV: as above."""

SAVE = _Script(
    _IS_LIVE,
    _SETS,
    _SESSION,
    # Returns `GONE`, `TAKEN` or 1. A record under the new key with the same `_accessed` was written by this command
    # before: the client retries after a lost reply. Only 100 members of a set are checked, to bound the time.
    """
local from, key, is_new, accessed, removed = KEYS[1], KEYS[2], ARGV[5] == '1', ARGV[6], tonumber(ARGV[7])
local moves = is_new or from ~= key
if moves and is_live(key) and redis.call('HGET', key, '_accessed') == accessed then
  return 1
elseif not is_new and not is_live(from) then
  return 0
elseif moves and redis.call('EXISTS', key) == 1 then
  return -1
end
local before = user_of(from)
if from ~= key then
  redis.call('RENAME', from, key)
end
for i = 8, 7 + removed do
  redis.call('HDEL', key, ARGV[i])
end
for i = 8 + removed, #ARGV, 2 do
  redis.call('HSET', key, ARGV[i], ARGV[i + 1])
end
local user = slide(key)
if before and (before ~= user or from ~= key) then
  redis.call('SREM', users .. before, from)
end
if user then
  local set = users .. user
  redis.call('SADD', set, key)
  local some = redis.call('SRANDMEMBER', set, 100)
  local _, longest = tidy(set, some)
  if #some < 100 then
    lives_for(set, longest, for_ever)
  end
end
return 1
""",
)
"""Create or change a session, move it to another key, and update the users' sets. KEYS: the old and the new key. ARGV:
as above, whether it is new, its `_accessed`, the number of names to remove, these names, the fields with their values."""

LIST = _Script(
    _IS_LIVE,
    _SETS,
    """
local live, longest = tidy(KEYS[1], redis.call('SMEMBERS', KEYS[1]))
lives_for(KEYS[1], longest, ARGV[1] == '1')
return live
""",
)
"""The keys of a user's live sessions. KEYS: the user's set. ARGV: whether sets don't expire."""

DELETE_ALL = _Script(
    """
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  redis.call('DEL', key)
end
return redis.call('DEL', KEYS[1])
""",
)
"""End all sessions of a user. KEYS: the user's set."""
