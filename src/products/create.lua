-- Creates a product, once per idempotency key, or says why not.
--
-- KEYS  1 order: a sorted set of ids by creation; 2 data: a hash id -> JSON; 3 meta: a hash {instance, revision, last_ms,
--       bytes, remembered_bytes}
--       4 remembered: a hash idempotency key -> fingerprint and JSON; 5 expiry: a sorted set of idempotency keys by end
-- ARGV  1 the JSON up to the id; 2 twenty random hexadecimal digits; 3 products at most
--       4 idempotency key, or empty; 5 for how long it is remembered (milliseconds); 6 keys remembered at most
--       7 bytes of JSON at most, of products and again of what is remembered with keys
--
-- Returns {'created', id, JSON}, {'replayed', id, JSON}, {'full'} or {'conflict'}.
--
-- Why Lua: to check, to number and to write must be one step, whichever replica asks. The id is a UUID of version 7 by
-- Redis's clock; its milliseconds never repeat, so ids grow with creation and a millisecond is a place in the order.

local order, data, meta, remembered, expiry = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local up_to_id, random, max_products = ARGV[1], ARGV[2], tonumber(ARGV[3])
local key, ttl_ms, max_keys, max_bytes = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local FINGERPRINT_DIGITS, ID_CHARACTERS = 40, 36

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function forget(keys)
  for _, each in ipairs(keys) do
    redis.call('HINCRBY', meta, 'remembered_bytes', -redis.call('HSTRLEN', remembered, each))
    redis.call('HDEL', remembered, each)
    redis.call('ZREM', expiry, each)
  end
end

local fingerprint = redis.sha1hex(up_to_id)
if key ~= '' then
  -- A few at a time: more end than are made only until the backlog is gone.
  forget(redis.call('ZRANGEBYSCORE', expiry, '-inf', string.format('%.0f', now_ms), 'LIMIT', 0, 100))
  local earlier = redis.call('HGET', remembered, key)
  if earlier then
    if string.sub(earlier, 1, FINGERPRINT_DIGITS) ~= fingerprint then
      return {'conflict'}
    end
    local json = string.sub(earlier, FINGERPRINT_DIGITS + 1)
    return {'replayed', string.sub(json, -ID_CHARACTERS - 2, -3), json}
  end
end

local bytes = #up_to_id + ID_CHARACTERS + 2
local stored_bytes = tonumber(redis.call('HGET', meta, 'bytes') or 0)
if redis.call('ZCARD', order) >= max_products or stored_bytes + bytes > max_bytes then
  return {'full'}
end

local ms = math.max(now_ms, tonumber(redis.call('HGET', meta, 'last_ms') or 0) + 1)
local variant = string.format('%x', 8 + tonumber(string.sub(random, 4, 4), 16) % 4)
local id = string.format('%08x-%04x-7%s-%s%s-%s', math.floor(ms / 65536), ms % 65536, string.sub(random, 1, 3),
  variant, string.sub(random, 5, 7), string.sub(random, 8, 19))
local json = up_to_id .. id .. '"}'

redis.call('ZADD', order, string.format('%.0f', ms), id)
redis.call('HSET', data, id, json)
redis.call('HSET', meta, 'last_ms', string.format('%.0f', ms))
redis.call('HINCRBY', meta, 'bytes', bytes)
redis.call('HINCRBY', meta, 'revision', 1)
redis.call('HSETNX', meta, 'instance', random)
if key ~= '' then
  redis.call('HSET', remembered, key, fingerprint .. json)
  local remembered_bytes = redis.call('HINCRBY', meta, 'remembered_bytes', FINGERPRINT_DIGITS + bytes)
  redis.call('ZADD', expiry, string.format('%.0f', now_ms + ttl_ms), key)
  local too_many = redis.call('ZCARD', expiry) - max_keys
  if too_many > 0 then
    forget(redis.call('ZRANGE', expiry, 0, too_many - 1))
  end
  -- Looking for one to forget too: a count that has gone astray must not keep Redis here for good.
  while remembered_bytes > max_bytes and redis.call('ZCARD', expiry) > 0 do
    forget(redis.call('ZRANGE', expiry, 0, 0))
    remembered_bytes = tonumber(redis.call('HGET', meta, 'remembered_bytes'))
  end
end
return {'created', id, json}
