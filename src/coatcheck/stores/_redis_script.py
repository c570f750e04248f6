"""The scripts that run inside the server: what a change makes of a record, and the upkeep of the index of users.

They say once more what `coatcheck.model.record.settle` and `encode` say, byte for byte; `tests.equivalence`
holds the two equal. A script is sent only the change, never the record.

Numbers are doubles there: exact up to 2 ** 53, which is far above any time in milliseconds. `struct` is the library
that Redis brings along.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from coatcheck.model.record import TOMBSTONE_LIFE

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
local byte, sub, find, concat = string.byte, string.sub, string.find, table.concat

-- What Python's strict UTF-8 decoder accepts.
local function is_text(s)
  if not find(s, '[\128-\255]') then return true end
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

local function map_head(count)
  if count < 16 then return string.char(128 + count) end
  if count < 65536 then return struct.pack('>BI2', 222, count) end
  return struct.pack('>BI4', 223, count)
end

-- How many fields there are, by the head of their map at `at`, and where they begin.
local function map_at(data, at)
  local kind = byte(data, at)
  if not kind then return nil end
  if kind >= 128 and kind <= 143 then return kind - 128, at + 1 end
  local width = kind == 222 and 2 or kind == 223 and 4
  return width and size_of(data, at + 1, width), at + 1 + (width or 0)
end

-- The size and the beginning of the name at `at`; nil: there is none. `plain`: it stands as we would write it.
local function name_at(data, at)
  local kind = byte(data, at)
  if not kind then return nil end
  if kind >= 160 and kind <= 191 then return kind - 160, at + 1, true end
  local width = kind == 217 and 1 or kind == 218 and 2 or kind == 219 and 4
  local size = width and size_of(data, at + 1, width)
  if not size then return nil end
  return size, at + 1 + width, size >= (width == 1 and 32 or width == 2 and 256 or 65536)
end

-- The same of a value.
local function value_at(data, at)
  local kind = byte(data, at)
  local width = kind == 196 and 1 or kind == 197 and 2 or kind == 198 and 4
  local size = width and size_of(data, at + 1, width)
  if not size then return nil end
  return size, at + 1 + width, width == 1 or size >= (width == 2 and 256 or 65536)
end

-- Where each of the fields begins that stand from `at` on, the place of each name, how many there are, and where the
-- first begins; nil, unless they stand exactly as we write them. This is done for every write: it makes no string but
-- the names, and calls nothing that it can do without.
local function fields_of(data, at)
  local count
  count, at = map_at(data, at)
  if not count then return nil end
  local begin, starts, place, names = at, {}, {}, {}
  for i = 1, count do
    starts[i] = at
    local kind, size, plain = byte(data, at), nil, true
    if kind and kind >= 160 and kind <= 191 then
      size, at = kind - 160, at + 1
    else
      size, at, plain = name_at(data, at)
      if not plain then return nil end
    end
    local name = sub(data, at, at + size - 1)
    if place[name] then return nil end
    place[name], names[i] = i, name
    at = at + size
    kind, size = byte(data, at, at + 1)
    if kind == 196 and size then
      at = at + 2 + size
    else
      size, at, plain = value_at(data, at)
      if not plain then return nil end
      at = at + size
    end
  end
  if at - 1 ~= #data then return nil end
  if find(concat(names), '[\128-\255]') then
    for i = 1, count do
      if not is_text(names[i]) then return nil end
    end
  end
  starts[count + 1] = at
  return starts, place, count, begin
end

-- The map of fields from `at` on, as we would write it; nil if it can't be read. Of a name that is there twice, the
-- last value counts, in the place of the first.
local function rewritten(data, at)
  local count
  count, at = map_at(data, at)
  if not count then return nil end
  local raws, place, n = {}, {}, 0
  for _ = 1, count do
    local size
    size, at = name_at(data, at)
    if not size then return nil end
    local name = sub(data, at, at + size - 1)
    if #name < size or not is_text(name) then return nil end
    size, at = value_at(data, at + size)
    if not size or at + size - 1 > #data then return nil end
    local i = place[name]
    if not i then
      n = n + 1
      i, place[name] = n, n
    end
    raws[i] = name_head(#name) .. name .. value_head(size) .. sub(data, at, at + size - 1)
    at = at + size
  end
  if at - 1 ~= #data then return nil end
  return map_head(n) .. concat(raws)
end

-- Where the map of fields begins in the record `data`, and its bookkeeping; nil if it can't be read, or is another
-- key's. A tombstone has no fields: it gives 0, and its end.
local function head_of(key, data)
  if #data < 74 then return nil end
  local version, flags, own, secret, secret_at, created, last_used, expires =
    struct.unpack('>BBc16c32I6I6I6I6', data)
  if version ~= 1 or own ~= key then return nil end
  if secret_at > LAST or created > LAST or last_used > LAST or expires > LAST then return nil end
  if flags > 7 then
    if flags == 128 and #data == 74 and secret == string.rep('\0', 32)
      and secret_at == 0 and created == 0 and last_used == 0 then
      return 0, expires
    end
    return nil
  end
  local at, signed_in, user, client, previous, seen = 75, 0, false, '', false, 0
  if flags % 2 == 1 then
    if #data < at + 9 then return nil end
    local user_size, client_size
    signed_in, user_size, client_size = struct.unpack('>I6I2I2', data, at)
    if signed_in > LAST then return nil end
    at = at + 10
    user, client = sub(data, at, at + user_size - 1), sub(data, at + user_size, at + user_size + client_size - 1)
    at = at + user_size + client_size
    if not is_text(user) or not is_text(client) then return nil end
  end
  if flags >= 4 then
    if #data < at + 37 then return nil end
    previous, seen = struct.unpack('>c32I6', data, at)
    at = at + 38
  end
  return at, expires, secret, secret_at, created, last_used, flags % 4 >= 2, signed_in, user, client, previous, seen
end
"""

_UPDATE_PLAIN = r"""
local flags, key, at, idle, absolute, remember_idle, remember_absolute, grace, removes, takes =
  struct.unpack('>I4c16I8I8I8I8I8I8I4I4', ARGV[1])
local data = redis.pcall('GET', KEYS[1])
if not data then return -1 end

-- Nearly every update sets or removes a few fields of a record in its plainest form, and holds its current secret. It
-- is spliced where it stands, which takes a third of the time. Nil: it is not such a case, and nothing was written.
local function splice()
  local byte, sub, find = string.byte, string.sub, string.find
  local LAST = 253402300799999
  if flags ~= 9 or takes > 0 or type(data) ~= 'string' or #data < 75 then return nil end
  local version, kind = byte(data, 1, 2)
  if version ~= 1 or kind > 3 or sub(data, 3, 18) ~= key or sub(data, 19, 50) ~= ARGV[2] then return nil end
  local secret_at, created, last_used, expires = struct.unpack('>I6I6I6I6', data, 51)
  if secret_at > LAST or created > LAST or last_used > LAST or expires > LAST then return nil end
  if at >= expires then return nil end
  local start, map = created, 75
  if kind % 2 == 1 then
    if #data < 85 then return nil end
    local signed_in, user_size, client_size = struct.unpack('>I6I2I2', data, 75)
    map = 85 + user_size + client_size
    if signed_in > LAST or find(sub(data, 85, map - 1), '[\128-\255]') then return nil end
    if signed_in > 0 then start = signed_in end
  end

  local wanted, places = {}, {}
  for i = 3, 2 + removes do wanted[ARGV[i]] = 0 end
  for i = 3 + removes, #ARGV, 2 do
    if wanted[ARGV[i]] then return nil end
    wanted[ARGV[i]] = i + 1
  end
  local size, here = #data, map + 1
  local count, many, few = byte(data, map, map + 2)
  if not count then return nil end
  local is_long = count == 222
  if is_long then
    if not few then return nil end
    count, here = many * 256 + few, map + 3
    if count < 16 then return nil end
  elseif count < 128 or count > 143 then
    return nil
  else
    count = count - 128
  end
  local left, seen, pieces, n, copied = count, {}, {}, 0, here
  for _ = 1, count do
    local head = byte(data, here)
    if not head or head < 160 or head > 191 then return nil end
    local from = here + head - 159
    local name = sub(data, here + 1, from - 1)
    if seen[name] or find(name, '[\128-\255]') then return nil end
    seen[name] = true
    local form, high, low = byte(data, from, from + 2)
    local value
    if form == 196 then
      if not high then return nil end
      value = from + 2
      from = value + high
    elseif form == 197 then
      if not low or high == 0 then return nil end
      value = from + 3
      from = value + high * 256 + low
    else
      return nil
    end
    local what = wanted[name]
    if what == 0 then
      n = n + 1
      pieces[n] = sub(data, copied, here - 1)
      copied, left = from, left - 1
    elseif what then
      local new = ARGV[what]
      n = n + 1
      pieces[n] = sub(data, copied, value - (form == 196 and 2 or 3) - 1)
      n = n + 1
      pieces[n] = (#new < 256 and string.char(196, #new) or struct.pack('>BI2', 197, #new)) .. new
      copied = from
      places[what] = true
    end
    here = from
  end
  if here ~= size + 1 then return nil end
  n = n + 1
  pieces[n] = sub(data, copied)
  for i = 3 + removes, #ARGV, 2 do
    local name, new = ARGV[i], ARGV[i + 1]
    if #new > 65535 then return nil end
    if not places[i + 1] then
      if #name > 31 then return nil end
      left, n = left + 1, n + 1
      pieces[n] = string.char(160 + #name) .. name
        .. (#new < 256 and string.char(196, #new) or struct.pack('>BI2', 197, #new)) .. new
    end
  end
  if is_long ~= (left > 15) or left > 65535 then return nil end

  if at > last_used then last_used = at end
  if kind >= 2 then
    expires = math.min(last_used + remember_idle, start + remember_absolute)
  else
    expires = math.min(last_used + idle, start + absolute)
  end
  local new = sub(data, 1, 62) .. struct.pack('>I6I6', last_used, expires) .. sub(data, 75, map - 1)
    .. (is_long and struct.pack('>BI2', 222, left) or string.char(128 + left)) .. table.concat(pieces)
  redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', math.max(expires - at, SHORTEST_LIFE)))
  return 1
end
local spliced = splice()
if spliced then return spliced end
"""

_UPDATE = r"""
local function has(flag) return flags % (flag * 2) >= flag end
local next_argument = 1
local function argument()
  next_argument = next_argument + 1
  return ARGV[next_argument]
end

if type(data) ~= 'string' then return -3 end
local map, expires, current, secret_at, created, last_used, permanent, signed_in, user, client, previous, seen =
  head_of(key, data)
if not map then return -3 end
if map == 0 then return -1 end
local starts, place, count, begin = fields_of(data, map)
if not starts then
  local fields = rewritten(data, map)
  if not fields then return -3 end
  data = sub(data, 1, map - 1) .. fields
  starts, place, count, begin = fields_of(data, map)
end
if at >= expires then return -1 end

local secret = has(1) and argument()
if secret and secret ~= current then
  if secret ~= previous or (seen > 0 and at >= seen + grace) then return -2 end
end
if has(2) and argument() ~= user then return -2 end

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

-- Fields are cleared, then removed and taken, then set. What is not changed is copied in as few pieces as possible.
if has(4) then
  starts, place, count, begin = {#data + 1}, {}, 0, #data + 1
end
local changed, order, added = {}, {}, {}
local first_take, first_set = next_argument + removes + 1, next_argument + removes + takes + 1
local taken = takes > 0 and {rotated}
for i = first_take, first_set - 1 do
  local where, value = place[ARGV[i]], false
  if where then
    local size, from = name_at(data, starts[where])
    size, from = value_at(data, from + size)
    value = sub(data, from, from + size - 1)
  end
  taken[i - first_take + 2] = value
end
for i = next_argument + 1, first_set - 1 do
  local name = ARGV[i]
  local where = place[name]
  if where then
    place[name], changed[where], order[#order + 1], count = nil, '', where, count - 1
  end
end
for i = first_set, #ARGV, 2 do
  local name, value = ARGV[i], ARGV[i + 1]
  local where, raw = place[name], name_head(#name) .. name .. value_head(#value) .. value
  if where then
    changed[where], order[#order + 1] = raw, where
  else
    count, added[#added + 1] = count + 1, raw
  end
end
local pieces, from = {}, begin
if #order > 1 then table.sort(order) end
for _, where in ipairs(order) do
  pieces[#pieces + 1] = sub(data, from, starts[where] - 1)
  pieces[#pieces + 1] = changed[where]
  from = starts[where + 1]
end
pieces[#pieces + 1] = sub(data, from)
pieces[#pieces + 1] = concat(added)

if has(32) then permanent = has(64) end
if has(8) then last_used = math.max(last_used, at) end
local start = signed_in > 0 and signed_in or created
if permanent then
  expires = math.min(last_used + remember_idle, start + remember_absolute)
else
  expires = math.min(last_used + idle, start + absolute)
end

local new = struct.pack('>BBc16c32I6I6I6I6',
  1, (user and 1 or 0) + (permanent and 2 or 0) + (previous and 4 or 0),
  key, current, secret_at, created, last_used, expires)
if user then new = new .. struct.pack('>I6I2I2', signed_in, #user, #client) .. user .. client end
if previous then new = new .. struct.pack('>c32I6', previous, seen) end
new = new .. map_head(count) .. concat(pieces)
redis.call('SET', KEYS[1], new, 'PX', string.format('%.0f', math.max(expires - at, SHORTEST_LIFE)))
return taken or rotated
"""

_DESTROY = r"""
local flags, key, at, signed_in = struct.unpack('>I4c16I8I8', ARGV[1])
local data = redis.pcall('GET', KEYS[1])
if not data then return -1 end
local map, expires, life, user
if type(data) == 'string' then
  local _
  map, expires, _, _, _, _, _, life, user = head_of(key, data)
  if map and map > 0 and not fields_of(data, map) and not rewritten(data, map) then map = nil end
end
if map then
  if map == 0 or at >= expires then return -1 end
  if flags % 2 == 1 and ARGV[3] ~= user then return -2 end
  if flags >= 2 and signed_in ~= life then return -2 end
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
    text = f"local SHORTEST_LIFE = {shortest_life}\n{_UPDATE_PLAIN}{_DECODE}{_UPDATE}"
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
