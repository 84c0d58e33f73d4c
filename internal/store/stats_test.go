package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func counts(events, succeeded int) (c contract.Counts) {
	c.Events = int64(events)
	for range succeeded {
		c.Attempt(true, 20*time.Millisecond)
	}
	return c
}

func TestStatisticsAddUpAndAreReadInSteps(t *testing.T) {
	s, other := pair(t)
	hour := start.Truncate(time.Hour).UTC()
	for i, from := range []*Store{s, other} {
		require.NoError(t, from.AddStats(ctx, []Stat{
			{"orders", "sub_1", hour, counts(0, 1)},
			{"orders", "sub_1", hour.Add(7 * time.Minute), counts(0, 10*i)},
			{"orders", "", hour, counts(5, 1)},
		}))
	}
	read := func(resource, subscription string, step time.Duration) (got [][2]int64) {
		points, err := s.Stats(ctx, StatsQuery{resource, subscription, hour, hour.Add(59 * time.Minute), step})
		require.NoError(t, err)
		for i, p := range points {
			require.Equal(t, hour.Add(time.Duration(i)*step), p.At)
			got = append(got, [2]int64{p.Events, p.Succeeded})
		}
		return got
	}
	fine := read("orders", "sub_1", 5*time.Minute)
	require.Len(t, fine, 12)
	require.Equal(t, [][2]int64{{0, 2}, {0, 10}, {0, 0}}, fine[:3])
	require.Equal(t, [][2]int64{{0, 12}, {0, 0}}, read("orders", "sub_1", 30*time.Minute))
	require.Equal(t, [][2]int64{{0, 12}}, read("orders", "sub_1", time.Hour))
	require.Equal(t, [][2]int64{{10, 2}}, read("orders", "", time.Hour))
	require.Equal(t, [][2]int64{{0, 0}}, read("users", "", time.Hour))

	points, err := s.Stats(ctx, StatsQuery{"orders", "sub_1", hour, hour, time.Hour})
	require.NoError(t, err)
	require.InDelta(t, 17.5, points[0].P50MS, 8)
}

// However many subscriptions have something to be counted, it is a handful of commands.
func TestManySubscriptionsAreCountedInFewCommands(t *testing.T) {
	s := open(t)
	var stats []Stat
	for i := range 1000 {
		stats = append(stats, Stat{"orders", fmt.Sprint("sub_", i), start, counts(0, 1)})
	}
	before, _ := s.Traffic()
	require.NoError(t, s.AddStats(ctx, stats))
	after, _ := s.Traffic()
	require.LessOrEqual(t, after-before, uint64(2*2*(1000/mostPerScript+1)+1))
	life, err := s.rdb.TTL(ctx, s.key.stats("orders", contract.StatsFine, start)).Result()
	require.NoError(t, err)
	require.InDelta(t, contract.StatsFineLife.Hours(), life.Hours(), 1)
	points, err := s.Stats(ctx, StatsQuery{"orders", "sub_999", start, start, contract.StatsFine})
	require.NoError(t, err)
	require.EqualValues(t, 1, points[0].Succeeded)
}
