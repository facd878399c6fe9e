/** Lua for presence-store.ts, which says what the keys are. ARGV[1] is always their prefix; each answers in JSON. */

/** Of statusOf (libs/domain/presence.ts) the twin: what a user is, from what his nodes have of him. */
const COMMON = `
local prefix = ARGV[1]
local function nowMs()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function statusOf(user)
  local status = 'offline'
  for _, code in ipairs(redis.call('HVALS', prefix .. 'user:' .. user)) do
    if string.sub(code, 1, 1) == 'o' then return 'online' end
    status = 'away'
  end
  return status
end
local function remember(user, rooms, now, max, kept)
  if #rooms == 0 then return end
  local key = prefix .. 'rooms:' .. user
  for _, room in ipairs(rooms) do redis.call('ZADD', key, now, room) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - kept)
  redis.call('ZREMRANGEBYRANK', key, 0, -(max + 1))
  redis.call('PEXPIRE', key, kept)
end
local function changeOf(user, before, after, hides, now, edge, pendingMax)
  if (before == 'offline') ~= (after == 'offline') then
    local status = after == 'offline' and 'offline' or 'online'
    redis.call('ZADD', prefix .. 'pending', now, status .. ' ' .. string.format('%.0f', now) .. ' ' .. user .. ' ' .. edge)
    redis.call('ZREMRANGEBYRANK', prefix .. 'pending', 0, -(pendingMax + 1))
  end
  local rooms = redis.call('ZREVRANGE', prefix .. 'rooms:' .. user, 0, -1)
  return { userId = user, before = before, after = after, atMs = now, hidesLastSeen = hides, rooms = rooms }
end
`

/** node, deadMs */
export const BEAT = `${COMMON}
local now = nowMs()
local isNew = redis.call('ZSCORE', prefix .. 'nodes', ARGV[2]) == false
redis.call('ZADD', prefix .. 'nodes', now, ARGV[2])
local dead = redis.call('ZRANGEBYSCORE', prefix .. 'nodes', '-inf', '(' .. string.format('%.0f', now - ARGV[3]), 'LIMIT', 0, 20)
return cjson.encode({ isNew = isNew, dead = dead })`

/** node, edgeId, what is said, rooms of a user, how long they are kept (ms), pending events */
export const SAY = `${COMMON}
local node, edge, max, kept, pendingMax = ARGV[2], ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
if redis.call('ZSCORE', prefix .. 'nodes', node) == false then return cjson.encode({ known = false }) end
local now = nowMs()
local changes = {}
for _, said in ipairs(cjson.decode(ARGV[4])) do
  local user = said.userId
  local key = prefix .. 'user:' .. user
  local before = statusOf(user)
  local hides = false
  if said.stance == '' then
    local code = redis.call('HGET', key, node)
    hides = code ~= false and string.sub(code, 2, 2) == 'h'
    redis.call('HDEL', key, node)
    redis.call('SREM', prefix .. 'node:' .. node, user)
  else
    redis.call('HSET', key, node, said.stance)
    redis.call('SADD', prefix .. 'node:' .. node, user)
  end
  remember(user, said.rooms, now, max, kept)
  local after = statusOf(user)
  if before ~= after or said['repeat'] then changes[#changes + 1] = changeOf(user, before, after, hides, now, edge, pendingMax) end
end
return cjson.encode({ known = true, changes = changes })`

/** dead node, edgeId of who asks, deadMs, limit, pending events */
export const REAP = `${COMMON}
local node, edge, deadMs, limit, pendingMax = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now = nowMs()
local beat = redis.call('ZSCORE', prefix .. 'nodes', node)
if beat == false or tonumber(beat) >= now - deadMs then return cjson.encode({ left = 0, changes = {} }) end
local users = prefix .. 'node:' .. node
local changes = {}
for _, user in ipairs(redis.call('SPOP', users, limit)) do
  local key = prefix .. 'user:' .. user
  local before = statusOf(user)
  local code = redis.call('HGET', key, node)
  redis.call('HDEL', key, node)
  local after = statusOf(user)
  if before ~= after then
    changes[#changes + 1] = changeOf(user, before, after, code ~= false and string.sub(code, 2, 2) == 'h', now, edge, pendingMax)
  end
end
local left = redis.call('SCARD', users)
if left == 0 then redis.call('ZREM', prefix .. 'nodes', node) end
return cjson.encode({ left = left, changes = changes })`

/** what, node, forMs */
export const CLAIM = `${COMMON}
local key = prefix .. 'claim:' .. ARGV[2]
local claimed = redis.call('SET', key, ARGV[3], 'NX', 'PX', ARGV[4])
return cjson.encode({ claimed = claimed ~= false or redis.call('GET', key) == ARGV[3] })`

/** users and the rooms that they are in, rooms of a user, how long they are kept (ms) */
export const WATCH = `${COMMON}
local max, kept = tonumber(ARGV[3]), tonumber(ARGV[4])
local now = nowMs()
local users = {}
for _, wanted in ipairs(cjson.decode(ARGV[2])) do
  local user = wanted.userId
  remember(user, wanted.rooms, now, max, kept)
  local status = statusOf(user)
  local fields = { userId = user, status = status }
  if status == 'offline' then
    local seen = redis.call('GET', prefix .. 'seen:' .. user)
    if seen then fields.lastSeenMs = tonumber(seen) end
  end
  users[#users + 1] = fields
end
return cjson.encode({ atMs = now, users = users })`

/** users with the time, or without one; how long it is kept (ms) */
export const SEEN = `${COMMON}
for _, seen in ipairs(cjson.decode(ARGV[2])) do
  local key = prefix .. 'seen:' .. seen.userId
  if seen.atMs then redis.call('SET', key, string.format('%.0f', seen.atMs), 'PX', ARGV[3])
  else redis.call('DEL', key) end
end
return cjson.encode({})`
