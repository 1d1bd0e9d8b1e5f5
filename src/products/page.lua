-- Reads a page of products in order of creation.
--
-- KEYS  1 order; 2 data: as in create.lua
-- ARGV  1 the millisecond after which the page starts, exclusive, or -inf; 2 products at most
--
-- Returns {id_1, JSON_1, id_2, JSON_2, ...}.
--
-- Why Lua: ids and their JSON are read at one moment, in one round trip.

local after = ARGV[1]
if after ~= '-inf' then
  after = '(' .. after
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'LIMIT', 0, ARGV[2])
local page = {}
if #ids > 0 then
  local texts = redis.call('HMGET', KEYS[2], unpack(ids))
  for i, id in ipairs(ids) do
    page[2 * i - 1], page[2 * i] = id, texts[i]
  end
end
return page
