-- Forgets a product.
--
-- KEYS  1 order; 2 data; 3 meta: as in create.lua
-- ARGV  1 the product's id
--
-- Returns 1 if there was such a product, else 0.
--
-- Why Lua: the three keys change together or not at all.

local bytes = redis.call('HSTRLEN', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('HINCRBY', KEYS[3], 'bytes', -bytes)
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[3], 'revision', 1)
return 1
