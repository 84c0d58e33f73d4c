package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// The log of attempts is a sorted set for each subscription: packs of attempts by the time at which they were written. One that is
// written again is the same member, and so changes nothing.

// AttemptLog is an attempt to be logged.
type AttemptLog struct {
	// Delivery is as it stood after the attempt, with that attempt alone.
	Delivery contract.Delivery
	// Policy is how much of the subscription's attempts is kept.
	Policy contract.LogPolicy
}

// LogAttempts adds attempts to the logs of their subscriptions, in one round trip unless they are many. The log of a subscription
// that is gone gets none. To log the same attempts in the same order again adds nothing.
func (s *Store) LogAttempts(ctx context.Context, attempts []AttemptLog) error {
	for _, packs := range packed(attempts) {
		if err := s.logPacks(ctx, packs, time.Now()); err != nil {
			return fmt.Errorf("logging attempts: %w", err)
		}
	}
	return nil
}

// packsPerCall is how many packs of one subscription a call may write: they share a microsecond.
const packsPerCall = 4

// packed gathers the attempts of each subscription in packs, and the packs in calls.
func packed(attempts []AttemptLog) (calls [][]*packs) {
	of := map[string]*packs{}
	var all []*packs
	for _, a := range attempts {
		p := of[a.Delivery.Subscription]
		if p == nil {
			p = &packs{subscription: a.Delivery.Subscription, policy: a.Policy}
			of[p.subscription], all = p, append(all, p)
		}
		p.add(a.Delivery)
	}
	for len(all) > 0 {
		var rest []*packs
		for _, p := range all {
			if more := p.split(packsPerCall); more != nil {
				rest = append(rest, more)
			}
		}
		calls, all = slices.AppendSeq(calls, slices.Chunk(all, mostPerScript)), rest
	}
	return calls
}

func (s *Store) logPacks(ctx context.Context, calls []*packs, now time.Time) error {
	names := make([]string, 0, 2*len(calls))
	args := make([]any, 0, 8*len(calls))
	tend := make([]bool, len(calls))
	for i, p := range calls {
		names = append(names, s.key.subscription(p.subscription))
		tend[i] = s.logs.due(p.subscription, p.weight(), now)
		args = append(args, tend[i], int64((p.policy.Age()+tendAfter)/time.Second), placeAt(now.Add(-p.policy.Age())), p.policy.LogBytes(), len(p.done))
		for _, pack := range p.done {
			args = append(args, pack)
		}
	}
	for _, p := range calls {
		names = append(names, s.key.log(p.subscription))
	}
	if err := logAttempts.Run(ctx, s.rdb, names, append([]any{logEpoch.UnixMicro(), packsPerCall}, args...)...).Err(); err != nil {
		return err
	}
	for i, p := range calls {
		s.logs.got(p.subscription, p.weight(), now, tend[i])
	}
	return nil
}

// logAttempts
// KEYS m subscriptions, then their m logs.
// ARGV 1 epoch in microseconds, 2 packs per microsecond; for each log: 1 to tend to it, its life in seconds, the place of what is too
// old, how many bytes it may take, number of packs, pack…
// Output: 1. A log that has grown too large loses its oldest packs, an eighth more than it must: the sizes are an estimate of Redis's.
var logAttempts = redis.NewScript(`
local at, m, time = 2, #KEYS / 2, redis.call('TIME')
local place = ((time[1] * 1000000 + time[2]) - ARGV[1]) * ARGV[2]

local function tend(log, life, old, most)
  redis.call('EXPIRE', log, life)
  redis.call('ZREMRANGEBYSCORE', log, '-inf', '(' .. old)
  local used = redis.call('MEMORY', 'USAGE', log, 'SAMPLES', 20)
  if not used or used <= tonumber(most) then return end
  local n = redis.call('ZCARD', log)
  local over = math.min(n - 1, math.ceil(n * (used - most * 7 / 8) / used))
  if over > 0 then redis.call('ZREMRANGEBYRANK', log, 0, over - 1) end
end

local all = redis.call('EXISTS', unpack(KEYS, 1, m)) == m
for i = 1, m do
  local n = tonumber(ARGV[at + 5])
  if all or redis.call('EXISTS', KEYS[i]) == 1 then
    local entries = {}
    for j = 1, n do
      entries[2 * j - 1], entries[2 * j] = string.format('%.0f', place + j - 1), ARGV[at + 5 + j]
    end
    redis.call('ZADD', KEYS[m + i], 'NX', unpack(entries))
    if ARGV[at + 1] == '1' then tend(KEYS[m + i], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]) end
  end
  at = at + 5 + n
end
return 1`)

// logEpoch keeps places exact in Redis's floating point numbers until 2097.
var logEpoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// placeAt is the place in every log that a time has.
func placeAt(t time.Time) string { return strconv.FormatInt(LogAt(t).pack, 10) }

// weight is how much nearer packs bring the next time that the log is tended to: after an eighth of what it may take.
func (p *packs) weight() int {
	bytes := 0
	for _, pack := range p.done {
		bytes += len(pack)
	}
	return int(math.Ceil(float64(bytes) * 8 * tendEachNth / float64(p.policy.LogBytes())))
}
