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
local call, format = redis.call, string.format
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min

local MAX_WAIT_US = 1e15
-- A full bucket is the same as none, so a key may go once it is full again; the margin covers rounding.
local TTL_MARGIN_MS, MAX_TTL_MS = 1000, 1e12

-- Each field parsed as a number: the microseconds come without leading zeros.
local time = call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answer = {now}

if #ARGV == 0 then
  call('SETRANGE', KEYS[1], 0, '')
  return answer
end

for i = 1, #KEYS do
  local key = KEYS[i]
  local capacity, rate = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local cost, n = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])

  local state = call('HMGET', key, 'tokens', 'last_refill')
  local stored, last = tonumber(state[1]), tonumber(state[2])
  if not stored or not last then
    stored, last = capacity, now
  end

  local at = max(now, last)
  local tokens = min(capacity, stored + (at - last) * rate / 1000000)
  local granted = min(n, floor(tokens / cost))
  tokens = tokens - granted * cost
  -- Written digit by digit: Redis's own conversion keeps 14 of them and would lose microseconds.
  local digits = format('%.17g', tokens)
  if granted > 0 then
    call('HSET', key, 'tokens', digits, 'last_refill', format('%.0f', at))
    local full_in_ms = ceil((capacity - tokens) * 1000 / rate) + (at - now) / 1000
    call('PEXPIRE', key, format('%.0f', min(MAX_TTL_MS, full_in_ms + TTL_MARGIN_MS)))
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
