"""The scripts that run inside the server: what a change makes of a record, and the upkeep of the index of users.

They say once more what `coatcheck.record.settle` and `encode` say, byte for byte; `coatcheck.testing.equivalence`
holds the two equal. A script is sent only the change, never the record.

Numbers are doubles there: exact up to 2 ** 53, which is far above any time in milliseconds. `struct` is the library
that Redis brings along.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from coatcheck.record import TOMBSTONE_LIFE

__all__ = ["Script", "destroy_script", "enroll_script", "forget_script", "update_scripts"]

SHORTEST_LIFE = 1_000
"""The least time (ms) for which the server keeps a record. A record that is over sooner is judged by its `expires`."""

APPLIED, NOT_ROTATED, GONE, CHANGED, UNREADABLE = 1, 0, -1, -2, -3
"""What a script answers; an update that takes fields away answers with a list that begins with one of them."""

# Without the flag a script is refused while the server is out of memory (`maxmemory`, `noeviction`), even if it only
# deletes; with it, it may do everything.
_WHEN_FULL = "#!lua flags=allow-oom\n"
_UNLESS_FULL = "#!lua\n"

_DECODE = r"""
local LAST = 253402300799999
local byte, sub = string.byte, string.sub

-- What Python's strict UTF-8 decoder accepts.
local function is_text(s)
  if not string.find(s, '[\128-\255]') then return true end
  local i, n = 1, #s
  while i <= n do
    local a, b, c, d = byte(s, i, i + 3)
    if a < 128 then
      i = i + 1
    elseif a < 194 or a > 244 or not b or b < 128 or b > 191 then
      return false
    elseif a < 224 then
      i = i + 2
    elseif not c or c < 128 or c > 191 then
      return false
    elseif a < 240 then
      if (a == 224 and b < 160) or (a == 237 and b > 159) then return false end
      i = i + 3
    else
      if not d or d < 128 or d > 191 or (a == 240 and b < 144) or (a == 244 and b > 143) then return false end
      i = i + 4
    end
  end
  return true
end

-- The size that stands in the next 1, 2 or 4 bytes.
local function size_of(data, at, width)
  local a, b, c, d = byte(data, at, at + width - 1)
  if width == 1 then return a end
  if width == 2 then return b and a * 256 + b end
  return d and ((a * 256 + b) * 256 + c) * 256 + d
end

local function name_head(size)
  if size < 32 then return string.char(160 + size) end
  if size < 256 then return string.char(217, size) end
  if size < 65536 then return struct.pack('>BI2', 218, size) end
  return struct.pack('>BI4', 219, size)
end

local function value_head(size)
  if size < 256 then return string.char(196, size) end
  if size < 65536 then return struct.pack('>BI2', 197, size) end
  return struct.pack('>BI4', 198, size)
end

local NAME_WIDTHS = {[217] = 1, [218] = 2, [219] = 4}
local VALUE_WIDTHS = {[196] = 1, [197] = 2, [198] = 4}

-- The fields from `at` on. Each keeps its place; `raw` is its name and value as they stand there.
local function fields_from(data, at)
  local kind, count = byte(data, at), nil
  if not kind then return nil end
  if kind >= 128 and kind <= 143 then
    count, at = kind - 128, at + 1
  elseif kind == 222 then
    count, at = size_of(data, at + 1, 2), at + 3
  elseif kind == 223 then
    count, at = size_of(data, at + 1, 4), at + 5
  end
  if not count then return nil end
  local names, raws, first, last, place, n = {}, {}, {}, {}, {}, 0
  for _ = 1, count do
    local start, plain, size, width = at, true, nil, nil
    kind = byte(data, at)
    if not kind then return nil end
    if kind >= 160 and kind <= 191 then
      size, at = kind - 160, at + 1
    else
      width = NAME_WIDTHS[kind]
      size = width and size_of(data, at + 1, width)
      if not size then return nil end
      at = at + 1 + width
      plain = size >= 32 and (width == 1 or size >= (width == 2 and 256 or 65536))
    end
    local name = sub(data, at, at + size - 1)
    if #name < size or not is_text(name) then return nil end
    at = at + size
    width = VALUE_WIDTHS[byte(data, at) or 0]
    size = width and size_of(data, at + 1, width)
    if not size then return nil end
    plain = plain and (width == 1 or size >= (width == 2 and 256 or 65536))
    local from = at + 1 + width
    at = from + size
    if at - 1 > #data then return nil end
    local raw
    if plain then
      raw = sub(data, start, at - 1)
    else
      raw = name_head(#name) .. name .. value_head(size) .. sub(data, from, at - 1)
    end
    local i = place[name]
    if not i then
      n = n + 1
      i = n
      place[name] = i
    end
    names[i], raws[i], first[i], last[i] = name, raw, from, at - 1
  end
  if at - 1 ~= #data then return nil end
  return {data = data, raws = raws, first = first, last = last, place = place, n = n}
end

-- The record in `data`; nil if it can't be read, or is another key's. A tombstone is a record that is over.
local function decode(key, data)
  if #data < 74 then return nil end
  local version, flags, own, secret, secret_at, created, last_used, expires =
    struct.unpack('>BBc16c32I6I6I6I6', data)
  if version ~= 1 or own ~= key then return nil end
  if secret_at > LAST or created > LAST or last_used > LAST or expires > LAST then return nil end
  if flags == 128 and #data == 74 and secret == string.rep('\0', 32)
    and secret_at == 0 and created == 0 and last_used == 0 then
    return {tombstone = true, expires = expires}
  end
  if flags > 7 then return nil end
  local state = {
    secret = secret, secret_at = secret_at, created = created, last_used = last_used, expires = expires,
    permanent = flags % 4 >= 2, signed_in = 0, user = false, client = '', previous = false, seen = 0,
  }
  local at = 75
  if flags % 2 == 1 then
    if #data < at + 9 then return nil end
    local signed_in, user_size, client_size = struct.unpack('>I6I2I2', data, at)
    if signed_in > LAST then return nil end
    at = at + 10
    state.signed_in = signed_in
    state.user, state.client = sub(data, at, at + user_size - 1), sub(data, at + user_size, at + user_size + client_size - 1)
    at = at + user_size + client_size
    if not is_text(state.user) or not is_text(state.client) then return nil end
  end
  if flags >= 4 then
    if #data < at + 37 then return nil end
    state.previous, state.seen = struct.unpack('>c32I6', data, at)
    at = at + 38
  end
  state.fields = fields_from(data, at)
  return state.fields and state
end
"""

_UPDATE = r"""
local flags, key, at, idle, absolute, remember_idle, remember_absolute, grace, removes, takes =
  struct.unpack('>I4c16I8I8I8I8I8I8I4I4', ARGV[1])
local function has(flag) return flags % (flag * 2) >= flag end
local next_argument = 1
local function argument()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end

local data = redis.pcall('GET', KEYS[1])
if not data then return -1 end
local state = type(data) == 'string' and decode(key, data)
if not state then return -3 end
if state.tombstone or at >= state.expires then return -1 end

local secret = has(1) and argument()
if secret and secret ~= state.secret then
  if secret ~= state.previous or (state.seen > 0 and at >= state.seen + grace) then return -2 end
end
if has(2) and argument() ~= state.user then return -2 end

local current, previous, seen = state.secret, state.previous, state.seen
local secret_at, signed_in, user, client = state.secret_at, state.signed_in, state.user, state.client
if previous and seen > 0 and at >= seen + grace then previous, seen = false, 0 end
if has(16) and previous and seen == 0 and secret == current then seen = at end
local rotated = 1
if has(256) then
  local new = argument()
  if not has(512) then
    current, secret_at, previous, seen = new, at, false, 0
  elseif secret == current and current ~= new then
    current, secret_at, previous, seen = new, at, current, 0
  end
  if current ~= new then rotated = 0 end
end
if has(128) then
  signed_in = math.max(at, signed_in + 1)
  user, client = argument(), argument()
end

-- Fields are cleared, then removed and taken, then set.
local fields = state.fields
local raws, place, n = fields.raws, fields.place, fields.n
if has(4) then raws, place, n = {}, {}, 0 end
local taken = takes > 0 and {rotated}
local function remove(name)
  local i = place[name]
  if i then raws[i], place[name] = '', nil end
end
local doomed = {}
for i = 1, removes do doomed[i] = argument() end
for i = 1, takes do
  local name = argument()
  local where = place[name]
  taken[i + 1] = where and sub(data, fields.first[where], fields.last[where]) or false
  doomed[removes + i] = name
end
for _, name in ipairs(doomed) do remove(name) end
for i = next_argument + 1, #ARGV, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  local where = place[name]
  if not where then
    n = n + 1
    where = n
    place[name] = where
  end
  raws[where] = name_head(#name) .. name .. value_head(#value) .. value
end
local count = 0
for _ in pairs(place) do count = count + 1 end
local map
if count < 16 then
  map = string.char(128 + count)
elseif count < 65536 then
  map = struct.pack('>BI2', 222, count)
else
  map = struct.pack('>BI4', 223, count)
end

local permanent = state.permanent
if has(32) then permanent = has(64) end
local last_used = has(8) and math.max(state.last_used, at) or state.last_used
local start = signed_in > 0 and signed_in or state.created
local expires
if permanent then
  expires = math.min(last_used + remember_idle, start + remember_absolute)
else
  expires = math.min(last_used + idle, start + absolute)
end

local head = struct.pack('>BBc16c32I6I6I6I6',
  1, (user and 1 or 0) + (permanent and 2 or 0) + (previous and 4 or 0),
  key, current, secret_at, state.created, last_used, expires)
local signed = user and struct.pack('>I6I2I2', signed_in, #user, #client) .. user .. client or ''
local before = previous and struct.pack('>c32I6', previous, seen) or ''
local new = head .. signed .. before .. map .. table.concat(raws, '', 1, n)
redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', math.max(expires - at, SHORTEST_LIFE)))
return taken or rotated
"""

_DESTROY = r"""
local flags, key, at, signed_in = struct.unpack('>I4c16I8I8', ARGV[1])
local data = redis.pcall('GET', KEYS[1])
if not data then return -1 end
local state = type(data) == 'string' and decode(key, data)
if state then
  if state.tombstone or at >= state.expires then return -1 end
  if flags % 2 == 1 and ARGV[3] ~= state.user then return -2 end
  if flags >= 2 and signed_in ~= state.signed_in then return -2 end
elseif flags > 0 then
  return -3
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', TOMBSTONE_LIFE)
return 1
"""

# Older than the longest life is what was signed in so long before this sign-in; a day more, for clocks that disagree.
_ENROLL = r"""
local signed_in, life = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', signed_in - life - 86400000))
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return redis.status_reply('OK')
"""

# Only what was not signed in to again meanwhile.
_FORGET = r"""
local gone = 0
for i = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    gone = gone + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return gone
"""


class Script(Struct, frozen=True):
    """A script, and the name under which the server keeps it."""

    text: bytes
    sha: bytes

    @classmethod
    def of(cls, text: str) -> Script:
        data = text.encode()
        return cls(data, hashlib.sha1(data, usedforsecurity=False).hexdigest().encode())


def update_scripts(shortest_life: int = SHORTEST_LIFE) -> tuple[Script, Script]:
    """What an `Update` makes of a record: for one that must run also when memory is full, and for any other."""
    text = f"local SHORTEST_LIFE = {shortest_life}\n{_DECODE}{_UPDATE}"
    return Script.of(_WHEN_FULL + text), Script.of(_UNLESS_FULL + text)


def destroy_script(tombstone_life: int = TOMBSTONE_LIFE) -> Script:
    """What a `Destroy` makes of a record. It runs also when memory is full."""
    return Script.of(f"{_WHEN_FULL}local TOMBSTONE_LIFE = {tombstone_life}\n{_DECODE}{_DESTROY}")


def enroll_script() -> Script:
    """Enter a life into the index of a user, and let go of what is too old to live."""
    return Script.of(_UNLESS_FULL + _ENROLL)


def forget_script() -> Script:
    """Take lives out of the index that are over, unless they were entered anew meanwhile."""
    return Script.of(_WHEN_FULL + _FORGET)
