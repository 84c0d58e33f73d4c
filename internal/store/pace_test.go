package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func take(t *testing.T, s *Store, asks ...Ask) []Grant {
	t.Helper()
	grants, err := s.Take(ctx, asks)
	require.NoError(t, err)
	require.Len(t, grants, len(asks))
	return grants
}

func TestTake(t *testing.T) {
	s, other := pair(t)
	require.Empty(t, take(t, s))
	got := take(t, s, Ask{"sub_1", 0.1, 3}, Ask{"sub_2", 2.5, 2}, Ask{"sub_3", 0, 1000}, Ask{"sub_4", 10, 0}, Ask{"sub_5", 20, 100})
	require.Equal(t, 1, got[0].Allowed, "a slow one has one at a time")
	require.InDelta(t, 10, got[0].Wait.Seconds(), 0.5)
	require.Equal(t, 2, got[1].Allowed)
	require.LessOrEqual(t, got[1].Wait, shortestWait, "there is one more at once")
	require.Equal(t, Grant{Allowed: 1000}, got[2], "no rate, no bound")
	require.Equal(t, Grant{}, got[3])
	require.Equal(t, 20, got[4].Allowed, "as many as a second brings")

	got = take(t, other, Ask{"sub_1", 0.1, 1}, Ask{"sub_2", 2.5, 2})
	require.Zero(t, got[0].Allowed, "other processes take from the same bucket")
	require.InDelta(t, 10, got[0].Wait.Seconds(), 0.5)
	require.Equal(t, 1, got[1].Allowed, "what is left, if it is less than asked for")
	require.InDelta(t, 0.4, got[1].Wait.Seconds(), 0.2)
	for _, key := range keysLeft(t, s) {
		require.Contains(t, key, s.key.rate(""))
	}
}

// Two processes that take as much as they can get what the rate brings: not more, and not much less.
func TestTheRateHoldsAcrossProcesses(t *testing.T) {
	const rate, spell = 300, time.Second
	s, other := pair(t)
	earliest := time.Now()
	take(t, s, Ask{"sub_1", rate, rate}) // the bucket's first fill
	latest := time.Now()
	var allowed atomic.Int64
	deadline := time.After(spell)
	end := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			for {
				grants, err := from.Take(ctx, []Ask{{"sub_1", rate, 20}})
				if err != nil {
					t.Error(err)
					return
				}
				allowed.Add(int64(grants[0].Allowed))
				select {
				case <-end:
					return
				case <-time.After(grants[0].Wait):
				}
			}
		})
	}
	<-deadline
	close(end)
	wg.Wait()
	least := time.Since(latest).Seconds()*rate - 1
	allowed.Add(int64(take(t, s, Ask{"sub_1", rate, rate})[0].Allowed)) // what they left
	require.GreaterOrEqual(t, float64(allowed.Load()), least)
	require.LessOrEqual(t, float64(allowed.Load()), time.Since(earliest).Seconds()*rate+1)
}

func TestTakingIsOneRoundTrip(t *testing.T) {
	s := open(t)
	var asks []Ask
	for i := range 50 {
		asks = append(asks, Ask{string(rune('a' + i)), 10, 3})
	}
	take(t, s, asks...) // the script is known from here on
	_, before := s.Traffic()
	for _, g := range take(t, s, asks...) {
		require.Equal(t, 3, g.Allowed)
	}
	_, after := s.Traffic()
	require.EqualValues(t, 1, after-before)
}
