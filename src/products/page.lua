-- Reads a page of products in order of creation, or as much of it as is read at once.
--
-- KEYS  1 order; 2 data: as in create.lua
-- ARGV  1 the millisecond after which the page starts, exclusive, or -inf; 2 products at most
--       3 bytes of JSON after which no further product is read; the one that reaches them is
--
-- Returns {found, id_1, JSON_1, id_2, JSON_2, ...}; found is how many products there are, up to ARGV[2], read or not.
--
-- Why Lua: ids and their JSON are read at one moment, in one round trip, and the number of bytes has a bound: while they are
-- read, nobody else is answered.

local after = ARGV[1]
if after ~= '-inf' then
  after = '(' .. after
end
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'LIMIT', 0, ARGV[2])
local page, left = {#ids}, tonumber(ARGV[3])
for i, id in ipairs(ids) do
  local json = redis.call('HGET', KEYS[2], id)
  page[2 * i], page[2 * i + 1] = id, json
  left = left - #(json or '')
  if left <= 0 then
    break
  end
end
return page
