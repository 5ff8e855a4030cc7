"""What runs inside Redis, as Lua: each script is one step that no other client comes between.

Pure text, and how to call it. Every key of a script is among its KEYS and lies in one slot of a
Redis Cluster; Redis 5 or later, or Valkey. Numbers go as decimal text: Lua's carry 53 bits exactly,
which microseconds since the epoch need until the year 2255.

    entry    aswr:NAMESPACE:VERSION:{DIGEST}        an envelope, see `envelope`
    lease    aswr:NAMESPACE:VERSION:{DIGEST}:lease  the token of who loads it
    awaited  ... {DIGEST}:awaited                   there, if somebody else waits for that load
    read     ... {DIGEST}:read                      what that load has read of its request
    numbers  aswr:{NAMESPACE:VERSION}:numbers       hash: "#" the last number, "!" the epoch, "~"
                                                    how long entries live, and name of a purge ->
                                                    its number
    log      aswr:{NAMESPACE:VERSION}:log           sorted set: name of a purge -> its place in the
                                                    log, a number; "!" and the epoch, at infinity
    workers  aswr:{NAMESPACE:VERSION}:workers       sorted set: worker -> when it was last heard
    status   aswr:{NAMESPACE:VERSION}:status:WORKER how a worker describes itself

An *epoch* begins where there are no numbers, where they and the log do not belong together, and
where the last number is lower than one that was given out: the store is new, was emptied, lost one
of them, or came back without its last writes. Entries of another epoch are not trusted, since
purges may have been lost with it.
"""

import hashlib
from typing import Final

from .envelope import MAGIC


class Script:
    """A script, and its hash, by which the server knows it once it has run."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _lua(text: str) -> str:
    return text.replace("MAGIC", "".join(f"\\{byte:03d}" for byte in MAGIC))


_TEXT = "local function text(number) return string.format('%.0f', number) end\n"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""

# What lies at a key, and no text in place of what is of another type or too large; the number and
# the end of freshness that an envelope's head tells, 0 for anything else.
_HEAD = _lua("""
local function look(key, most)
  local length = redis.pcall('STRLEN', key)
  if type(length) == 'table' or length > tonumber(most) then return '' end
  return redis.call('GET', key)
end
local function head(data)
  if not data or string.len(data) < 24 or string.sub(data, 1, 5) ~= 'MAGIC' then return 0, 0 end
  local number = struct.unpack('>I8', data, 9)
  if number > 2 ^ 53 then return 0, 0 end
  return number, struct.unpack('>I8', data, 17)
end
local function head_of(key)
  if type(redis.pcall('STRLEN', key)) == 'table' then return 0, 0 end
  return head(redis.call('GETRANGE', key, 0, 23))
end
""")

# KEYS[1] numbers, KEYS[2] log; ARGV: 1 a number that the caller knows of, which does not count
# where his clock is ahead; 2 the last one that the store has told him. What is made here is kept
# for a day, and then by who lives: see `_HORIZON`.
_COUNT = (
    _TEXT
    + _NOW
    + """
local epoch = redis.call('HGET', KEYS[1], '!')
local known = math.min(tonumber(ARGV[1]), now + 1000000)
local last = tonumber(redis.call('HGET', KEYS[1], '#') or '0')
if not epoch or last < tonumber(ARGV[2]) or not redis.call('ZSCORE', KEYS[2], '!' .. epoch) then
  redis.call('DEL', KEYS[1], KEYS[2])
  epoch = text(now)
  last = math.max(now, known, tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], '!', epoch, '#', text(last))
  redis.call('ZADD', KEYS[2], '+inf', '!' .. epoch)
  redis.call('PEXPIRE', KEYS[1], 86400000)
  redis.call('PEXPIRE', KEYS[2], 86400000)
end
local function count()
  last = math.max(now, last + 1, known + 1)
  redis.call('HSET', KEYS[1], '#', text(last))
  return last
end
"""
)

# The next number of the fleet. Returns number, now, epoch.
NUMBER: Final = Script(_COUNT + "return {text(count()), text(now), epoch}")

# How long entries live at the most, in microseconds: ARGV[3] is what the caller knows of. Purges of
# longer ago concern nothing any more. Numbers and log are kept for a day longer, each time that a
# worker gives a sign of life, and where entries turn out to live longer than was known.
_HORIZON = """
local horizon = tonumber(redis.call('HGET', KEYS[1], '~') or '0')
local function keep()
  local living = math.ceil(horizon / 1000) + 86400000
  redis.call('PEXPIRE', KEYS[1], text(living))
  redis.call('PEXPIRE', KEYS[2], text(living))
end
if tonumber(ARGV[3]) > horizon then
  horizon = tonumber(ARGV[3])
  redis.call('HSET', KEYS[1], '~', text(horizon))
  keep()
end
"""

# Purge names for the whole fleet, and tell it.
# ARGV: 4 the number of a purge that could not be told when it was made, or 0; 5 channel; 6 message,
# which the number ends; 7 how many names may be known; 8... names.
# Returns the last number, now, epoch, and the purge's number.
PURGE: Final = Script(
    _COUNT
    + _HORIZON
    + """
local number = count()
if tonumber(ARGV[4]) > 0 then number = math.min(number, tonumber(ARGV[4])) end
local function mark(name, made)
  local known = tonumber(redis.call('HGET', KEYS[1], name) or '0')
  if known < made then
    redis.call('HSET', KEYS[1], name, text(made))
    redis.call('ZADD', KEYS[2], text(count()), name)
  end
end
local function forget(name)
  local made = tonumber(redis.call('HGET', KEYS[1], name) or '0')
  redis.call('ZREM', KEYS[2], name)
  redis.call('HDEL', KEYS[1], name)
  return made
end
local past = text(now - horizon - 60000000)
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', past, 'LIMIT', 0, 100)) do
  forget(name)
end
for i = 8, #ARGV do mark(ARGV[i], number) end
while redis.call('ZCARD', KEYS[2]) > tonumber(ARGV[7]) do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  mark(string.sub(oldest, 1, 1) .. '*', forget(oldest))
end
keep()
redis.pcall('PUBLISH', ARGV[5], ARGV[6] .. string.format('%020.0f', number))
return {text(last), text(now), epoch, text(number)}
"""
)

# What was purged since a place in the log, and a sign of life.
# KEYS[3] workers; ARGV: 4 the place; 5 the worker, or '' where it has said so of late; 6 after how
# many microseconds one counts as gone; 7 the server's run that the caller knows, or '' where
# nothing speaks for another, of which all of the log is told; 8 how many names at a time.
# Returns the last number, now, epoch, how many workers there are, the server's run, whether there
# is more, the place from which this is, the place reached, and names with their numbers in turn.
SYNC: Final = Script(
    _COUNT
    + _HORIZON
    + """
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[3], text(now), ARGV[5])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', text(now - tonumber(ARGV[6])))
  redis.call('PEXPIRE', KEYS[3], math.ceil(tonumber(ARGV[6]) / 1000))
  keep()
end
local since, run = ARGV[4], ''
if ARGV[7] ~= '' then
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then run = string.match(info, 'run_id:(%w+)') or '' end
  if run == '' or run ~= ARGV[7] then since = '0' end
end
local found = redis.call(
  'ZRANGEBYSCORE', KEYS[2], '(' .. since, '(+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[8])
local workers = redis.call('ZCARD', KEYS[3])
local more = #found == 2 * tonumber(ARGV[8])
local reply = {text(last), text(now), epoch, text(workers), run, more and '1' or '0', since, since}
for i = 1, #found, 2 do
  reply[8] = found[i + 1]
  table.insert(reply, found[i])
  table.insert(reply, redis.call('HGET', KEYS[1], found[i]) or '0')
end
return reply
"""
)

# What lies at a key, and who is to load it.
# KEYS[1] entry, KEYS[2] lease, KEYS[3] awaited, KEYS[4] read; ARGV: 1 what lies there must be newer
# than this, and fresh, for no load to be needed; 2 the caller has what has this number; 3 his
# token; 4 milliseconds that the lease holds; 5 bytes that he takes.
# Returns 'fresh', 'lead' or 'busy', the number of what lies there, itself or nil, and what the load
# that is under way elsewhere has read, or nil.
CLAIM: Final = Script(
    _TEXT
    + _NOW
    + _HEAD
    + """
local data = look(KEYS[1], ARGV[5])
local number, fresh = head(data)
local out = false
if data and (number > tonumber(ARGV[2]) or number == 0) then out = data end
local reply = {'busy', text(number), out}
if number > tonumber(ARGV[1]) and fresh > now then
  reply[1] = 'fresh'
elseif redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[4])
    or look(KEYS[2], 99) == ARGV[3] then
  reply[1] = 'lead'
else
  if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ARGV[4]) end
  redis.call('SET', KEYS[3], '', 'PX', ARGV[4])
  reply[4] = look(KEYS[4], ARGV[5])
end
return reply
"""
)

# Store an entry unless a newer one is there, give the lease back, and tell the others: all of them,
# or only where somebody waits, or serves as fresh what lay there.
# KEYS as of CLAIM; ARGV: 1 token or ''; 2 number; 3 envelope; 4 milliseconds to live; 5 channel;
# 6 message; 7 who is told: 'all', 'some' or 'none'. Returns whether it was stored.
STORE: Final = Script(
    _NOW
    + _HEAD
    + """
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2], KEYS[4])
end
local there, fresh = head_of(KEYS[1])
if there > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
local awaited = redis.call('DEL', KEYS[3]) == 1
if ARGV[7] == 'all' or (ARGV[7] == 'some' and (awaited or fresh > now)) then
  redis.pcall('PUBLISH', ARGV[5], ARGV[6])
end
return 1
"""
)

# Give a lease back, and tell the others why. KEYS as of CLAIM; ARGV: token, channel, message.
RELEASE: Final = Script("""
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2], KEYS[4]) end
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return 1
""")

# Say what a load has read of its request. KEYS as of CLAIM; ARGV: token, what it has read,
# milliseconds, channel, message.
READ: Final = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3])
redis.pcall('PUBLISH', ARGV[4], ARGV[5])
return 1
""")

# What lies at a key. KEYS[1] entry; ARGV: bytes that the caller takes.
LOOK: Final = Script(_HEAD + "return look(KEYS[1], ARGV[1])")

# How many bytes lie at a key, 0 for nothing and for what is of another type. KEYS[1] entry.
LENGTH: Final = Script("""
local length = redis.pcall('STRLEN', KEYS[1])
return type(length) == 'table' and 0 or length
""")

# Say how a worker is. KEYS[1] its status; ARGV: text, milliseconds.
DESCRIBE: Final = Script("redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1")

# What time it is there; nothing is changed by it. KEYS[1] names the server of a cluster.
CLOCK: Final = Script("return redis.call('TIME')[1]")

# Who the workers are. KEYS[1] workers.
WORKERS: Final = Script("return redis.call('ZRANGE', KEYS[1], 0, -1)")

# How workers are. KEYS their statuses; returns a text, or nil, for each.
STATUSES: Final = Script("return redis.call('MGET', unpack(KEYS))")

# Keep a lease. KEYS as of CLAIM; ARGV: token, milliseconds. Returns whether it was still held.
RENEW: Final = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[4], ARGV[2])
return redis.call('PEXPIRE', KEYS[2], ARGV[2])
""")

# Drop what lies at a key, unless it is newer. KEYS[1] entry; ARGV: number.
DROP: Final = Script(
    _HEAD
    + """
if head_of(KEYS[1]) > tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
"""
)
