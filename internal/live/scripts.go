package live

import "github.com/redis/go-redis/v9"

// Each script is one step for all apis, by Redis' clock, so that theirs may differ. What they write ends
// by itself.

// clock gives scripts the time in microseconds.
const clock = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
`

// beatScript counts the apis that have said lately that they are there. KEYS: the apis, the channel.
// ARGV: the name of this one, how long one counts (ms), what is said on the channel.
var beatScript = redis.NewScript(clock + `
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2] * 1000)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', KEYS[2], ARGV[3])
return redis.call('ZCARD', KEYS[1])
`)

// takeScript is shares.Quotas.Take, and Give if the number is negative. KEYS: the taker. ARGV: how much,
// the rate a second, the burst, how much to take besides if half of the burst is left then. It returns
// whether it was granted, the level, and how much was taken besides.
var takeScript = redis.NewScript(clock + `
local n, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local have = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(have[1]) or burst, tonumber(have[2]) or now
if now > at then
	level = level + (now - at) / 1000000 * rate
	at = now
end
level = math.min(level, burst)
local granted, ahead = 0, tonumber(ARGV[4])
if level >= math.min(n, burst) then
	granted = 1
	level = math.min(level - n, burst)
end
if granted == 1 and level - ahead >= burst / 2 then
	level = level - ahead
else
	ahead = 0
end
if level >= burst then
	redis.call('DEL', KEYS[1])
else
	redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level), 'at', string.format('%.0f', at))
	redis.call('PEXPIRE', KEYS[1], math.ceil((burst - level) / rate * 1000) + 1000)
end
return {granted, string.format('%.6f', level), ahead}
`)

// beginTryScript is Tries.BeginTry. KEYS: the counts. ARGV: the first and the longest wait and the time
// until a count ends (ms), how often a wait is doubled at most, then what is free of each count. It
// returns how long to wait (ms).
var beginTryScript = redis.NewScript(clock + `
now = math.floor(now / 1000)
local first, longest, forgotten = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wait = 0
for _, key in ipairs(KEYS) do
	wait = math.max(wait, (tonumber(redis.call('HGET', key, 'until')) or 0) - now)
end
if wait > 0 then
	return wait
end
for i, key in ipairs(KEYS) do
	local over = redis.call('HINCRBY', key, 'number', 1) - ARGV[4 + i]
	if over >= 0 then
		local rest = math.min(longest, first * 2 ^ math.min(over, ARGV[4]))
		redis.call('HSET', key, 'until', string.format('%.0f', now + rest))
	end
	redis.call('PEXPIRE', key, forgotten)
end
return 0
`)

// rightTryScript is Tries.RightTry. KEYS: the counts. ARGV: of each, 1 if it ends.
var rightTryScript = redis.NewScript(`
for i, key in ipairs(KEYS) do
	if redis.call('HINCRBY', key, 'number', -1) <= 0 or ARGV[i] == '1' then
		redis.call('DEL', key)
	else
		redis.call('HDEL', key, 'until')
	end
end
return 0
`)

// holdScript takes a lease or renews it, and returns 1 if it is had. KEYS: the lease. ARGV: the name of
// who wants it, for how long (ms).
var holdScript = redis.NewScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
	return 1
end
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
`)

// endScript gives a lease back. KEYS: the lease. ARGV: the name of who had it.
var endScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
`)
