"""What RedisStore has the server run as one step: Lua scripts.

A login has two keys, in one hash slot:

1. a hash with ``record`` (the text of the record), ``generation`` (compared as text, since Lua has
   no 64-bit integers) and ``fence`` (the fencing number of the last lease);
2. while the login is locked, the lease: ``holder:fence``, which expires by the server's clock.

A fencing number rises with each lease. It is taken from the server's clock in microseconds, and is
higher than the last one in the hash: so it does not begin anew when the lease or all data is lost.

Each script can be run twice with the same effect, because an answer may be lost. Whatever the
record holds is compared before anything is written: an error in the middle undoes nothing.
"""

from __future__ import annotations

import hashlib
from typing import final

import attrs


def _sha_of(script: Script) -> str:
    return hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()


@final
@attrs.frozen
class Script:
    """A script, and the name by which the server knows it once it has run it."""

    text: str
    sha: str = attrs.field(default=attrs.Factory(_sha_of, takes_self=True), init=False)


# ARGV: holder, lease in milliseconds. Returns {1, fence}, or {0, milliseconds until it is free}.
ACQUIRE = Script("""
local held = redis.call('GET', KEYS[2])
if held then
  if string.sub(held, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
    return {1, string.sub(held, #ARGV[1] + 2)}
  end
  return {0, redis.call('PTTL', KEYS[2])}
end
local last = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') or 0
local time = redis.call('TIME')
local fence = time[1] * 1000000 + time[2]
if fence <= last then fence = last + 1 end
fence = string.format('%.0f', fence)
redis.call('SET', KEYS[2], ARGV[1] .. ':' .. fence, 'PX', ARGV[2])
local record = redis.call('HGET', KEYS[1], 'record')
if record and string.find(record, '"trioauth tokens"', 1, true) then
  redis.call('HSET', KEYS[1], 'fence', fence)
end
return {1, fence}
""")

# ARGV: holder. Deletes the lease if it is this holder's.
RELEASE = Script("""
local held = redis.call('GET', KEYS[2])
if held and string.sub(held, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then redis.call('DEL', KEYS[2]) end
return 1
""")

# What `PROBE` and `SAVE` begin with: is the lease still ours, and the record one of ours? A lease
# that has expired counts as ours while the hash has our fence: no session has locked it since.
# Halves of surrogate pairs are left out, because cjson refuses one that stands alone, as in the
# name of a person that was cut in the middle of an emoji; escaped backslashes, lest they mislead.
_GUARD = r"""
local mine = ARGV[1] .. ':' .. ARGV[2]
local held = redis.call('GET', KEYS[2])
local stored = redis.call('HMGET', KEYS[1], 'generation', 'record', 'fence')
if redis.call('EXISTS', KEYS[1]) == 1 then
  local text = string.gsub(stored[2] or '', '\\\\', '')
  text = string.gsub(text, '\\u[dD][89a-fA-F]%x%x', '')
  local ok, record = pcall(cjson.decode, text)
  if not stored[1] or not ok or type(record) ~= 'table' or record.format ~= 'trioauth tokens'
      or record.version ~= 1 or tonumber(stored[1]) ~= record.generation then
    return {'foreign'}
  end
end
"""
_LEASE_IS_OURS = """
if held and held ~= mine or not held and stored[1] and stored[3] ~= ARGV[2] then
  return {'taken'}
end
"""

# ARGV: holder, fence, lease in milliseconds. Renews the lease, and writes the hash if there is one:
# what `SAVE` may not do (read-only, no memory, no permission) fails here, too.
PROBE = Script(f"""{_GUARD}{_LEASE_IS_OURS}
redis.call('SET', KEYS[2], mine, 'PX', ARGV[3])
if stored[1] then redis.call('HSET', KEYS[1], 'fence', ARGV[2]) end
return {{'ok'}}
""")

# ARGV: holder, fence, expected generation. Compare-and-delete; the lease is in the other key, and
# stays. Without a record there is nothing to do.
DELETE = Script(f"""{_GUARD}
if not stored[1] then return {{'ok'}} end
if stored[1] ~= ARGV[3] then return {{'conflict', stored[1]}} end
{_LEASE_IS_OURS}
redis.call('DEL', KEYS[1])
return {{'ok'}}
""")

# ARGV: holder, fence, expected generation, generation, record, channel, key. Compare-and-swap.
# The hint is best effort: it must not make an error of what was saved.
SAVE = Script(f"""{_GUARD}
local generation = stored[1] or '0'
if generation == ARGV[4] and stored[2] == ARGV[5] then return {{'ok'}} end
if generation ~= ARGV[3] then return {{'conflict', generation}} end
{_LEASE_IS_OURS}
redis.call('HSET', KEYS[1], 'record', ARGV[5], 'generation', ARGV[4], 'fence', ARGV[2])
redis.pcall('PUBLISH', ARGV[6], ARGV[7])
return {{'ok'}}
""")
