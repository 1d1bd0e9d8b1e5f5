-- Takes tokens from a batch of token buckets, atomically.
--
-- KEYS[i]             a bucket: a hash {tokens, last_refill}; absent means full
-- ARGV[4*i-3 .. 4*i]  its capacity (tokens), refill rate (tokens per second), cost of one ask (tokens), number of equal asks
--
-- With no ARGV at all, nothing is taken: KEYS[1], which must not exist, is written nothing to. That tells whether Redis
-- would take a write; one that is read-only, out of memory or unable to save still runs scripts.
--
-- Returns {now, granted_1, tokens_1, wait_1, granted_2, tokens_2, wait_2, ...}
--   now      Redis's clock, microseconds since the Unix epoch
--   granted  how many of the asks were granted
--   tokens   tokens left, as a string: Redis cuts the fraction off a Lua number
--   wait     microseconds from now until one more ask would be granted; 0 when all were
--
-- Why Lua: read, refill, judge and write must be one step, by one clock, for however many processes ask. Redis runs a
-- script alone, and its TIME is the only clock the replicas share.
--
-- The order of operations is that of bucket.rs: both are IEEE doubles and agree bit for bit. Change neither alone.

-- Locals, because each look-up of a global is paid for once a bucket: 4 % of the script's time.
local KEYS, ARGV, call, format = KEYS, ARGV, redis.call, string.format
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min

local MAX_WAIT_US = 1e15
-- A full bucket is the same as none, so a key may go once it is full again.
local MAX_TTL_S = 1e9

-- Each field parsed as a number: the microseconds come without leading zeros.
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answer = {now}

if #ARGV == 0 then
  call('SETRANGE', KEYS[1], 0, '')
  return answer
end

local capacity_arg, rate_arg, cost_arg, capacity, rate, cost

-- The whole second of Redis's clock in which a bucket's key ends: one to two seconds after it is full. The seconds are a
-- grid so that a request which leaves the bucket full at nearly the same time as the last one did need not set it anew.
local function end_s(tokens, at)
  return floor((at + (capacity - tokens) * 1000000 / rate) / 1000000) + 2
end

for i = 1, #KEYS do
  local key, first = KEYS[i], 4 * i - 3
  -- Equal strings are one string to Lua, so this compares no text; nearly always all buckets have one policy.
  if ARGV[first] ~= capacity_arg or ARGV[first + 1] ~= rate_arg or ARGV[first + 2] ~= cost_arg then
    capacity_arg, rate_arg, cost_arg = ARGV[first], ARGV[first + 1], ARGV[first + 2]
    capacity, rate, cost = tonumber(capacity_arg), tonumber(rate_arg), tonumber(cost_arg)
  end
  local n = tonumber(ARGV[first + 3])

  local state = call('HMGET', key, 'tokens', 'last_refill')
  local stored, last = tonumber(state[1]), tonumber(state[2])
  local set_to_end_s
  if stored and last then
    set_to_end_s = end_s(stored, last)
  else
    stored, last = capacity, now
  end

  local at = max(now, last)
  local tokens = min(capacity, stored + (at - last) * rate / 1000000)
  local granted = min(n, floor(tokens / cost))
  tokens = tokens - granted * cost
  -- Written digit by digit: Redis's own conversion keeps 14 of them and would lose microseconds. A whole number is written
  -- several times faster as one.
  local digits = format(tokens == floor(tokens) and '%d' or '%.17g', tokens)
  if granted > 0 then
    call('HSET', key, 'tokens', digits, 'last_refill', format('%d', at))
    local ends_s = end_s(tokens, at)
    if ends_s ~= set_to_end_s then
      call('EXPIREAT', key, format('%d', min(ends_s, now / 1000000 + MAX_TTL_S)))
    end
  end

  local wait = 0
  if granted < n then
    -- The margin of 1 us outweighs rounding. The clock may stand before the bucket's own time: it must catch up first.
    wait = min(MAX_WAIT_US, max(0, ceil((cost - tokens) * 1000000 / rate))) + 1
    wait = min(MAX_WAIT_US, wait + (at - now))
  end

  answer[3 * i - 1] = granted
  answer[3 * i] = digits
  answer[3 * i + 1] = wait
end

return answer
