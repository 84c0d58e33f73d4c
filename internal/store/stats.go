package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Statistics are hashes, one for each resource and step of time: what it costs to count does not depend on how many
// subscriptions have something counted, and all of a step ends at once.

// Stat is what is counted of a subscription to a resource. Without a subscription it is all of the resource, without either all
// there is.
type Stat struct {
	Resource, Subscription string
	// At lies in the step that it is counted for.
	At time.Time
	contract.Counts
}

// statSteps are those that are kept.
var statSteps = []struct{ step, life time.Duration }{
	{contract.StatsFine, contract.StatsFineLife}, {contract.StatsCoarse, contract.StatsCoarseLife},
}

// AddStats adds to what was counted. After an error some of it may have been added.
func (s *Store) AddStats(ctx context.Context, stats []Stat) error {
	sums, lives := map[string]map[string]*contract.Counts{}, map[string]time.Duration{}
	for _, stat := range stats {
		for _, kept := range statSteps {
			key := s.key.stats(stat.Resource, kept.step, stat.At)
			if sums[key] == nil {
				sums[key], lives[key] = map[string]*contract.Counts{}, kept.life+kept.step
			}
			if sums[key][stat.Subscription] == nil {
				sums[key][stat.Subscription] = &contract.Counts{}
			}
			sums[key][stat.Subscription].Add(stat.Counts)
		}
	}
	err := s.pipelined(ctx, addStats, func(pipe redis.Pipeliner) {
		for key, sum := range sums {
			for some := range slices.Chunk(fieldsOf(sum), 2*mostPerScript) {
				addStats.EvalSha(ctx, pipe, []string{key}, append([]any{int64(lives[key] / time.Second)}, some...)...)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("adding to the statistics: %w", err)
	}
	return nil
}

func fieldsOf(sum map[string]*contract.Counts) []any {
	fields := make([]any, 0, 2*len(sum))
	for name, counts := range sum {
		fields = append(fields, name, counts.String())
	}
	return fields
}

// addStats
// KEYS 1 hash. ARGV 1 life in seconds; then field, counts… Output: 1. Counts are numbers with spaces between them.
var addStats = redis.NewScript(`
local fields, set = {}, {}
for i = 2, #ARGV, 2 do fields[#fields + 1] = ARGV[i] end
local stored = redis.call('HMGET', KEYS[1], unpack(fields))
for i, field in ipairs(fields) do
  local sums = {}
  for _, text in ipairs({stored[i] or '', ARGV[2 * i + 1]}) do
    local at = 0
    for number in string.gmatch(text, '%d+') do
      at = at + 1
      sums[at] = (sums[at] or 0) + number
    end
  end
  for at, sum in ipairs(sums) do sums[at] = string.format('%.0f', sum) end
  set[2 * i - 1], set[2 * i] = field, table.concat(sums, ' ')
end
redis.call('HSET', KEYS[1], unpack(set))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1`)

// StatsQuery asks for a series.
type StatsQuery struct {
	Resource, Subscription string
	// Since and Until are the first and the last moment.
	Since, Until time.Time
	// Step is how much time each point has: a multiple of contract.StatsFine, or of contract.StatsCoarse for what is older than
	// contract.StatsFineLife.
	Step time.Duration
}

// Stats returns a point for each step, the oldest first, also for those in which nothing happened.
func (s *Store) Stats(ctx context.Context, q StatsQuery) ([]contract.StatPoint, error) {
	kept := contract.StatsFine
	if q.Step%contract.StatsCoarse == 0 {
		kept = contract.StatsCoarse
	}
	first := q.Since.Truncate(q.Step).UTC()
	pipe := s.rdb.Pipeline()
	var read []*redis.StringCmd
	for at := first; !at.After(q.Until); at = at.Add(kept) {
		read = append(read, pipe.HGet(ctx, s.key.stats(q.Resource, kept, at), q.Subscription))
	}
	if _, err := pipe.Exec(ctx); err != nil && err != redis.Nil { //nolint:errorlint // the library returns it bare
		return nil, fmt.Errorf("reading the statistics: %w", err)
	}
	points := []contract.StatPoint{}
	for at := first; len(read) > 0; at = at.Add(q.Step) {
		some := read[:min(len(read), int(q.Step/kept))]
		read = read[len(some):]
		var sum contract.Counts
		for _, cmd := range some {
			sum.Add(contract.ParseCounts(cmd.Val()))
		}
		points = append(points, sum.Point(at))
	}
	return points, nil
}
