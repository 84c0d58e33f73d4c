package store

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeen(t *testing.T) {
	s, other := pair(t)
	events := []EventKey{{"orders", "/a", "1"}, {"orders", "/a", "2"}, {"payments", "/a", "1"}, {"orders", "/b", "1"}, {"orders", "/a1", ""}, {"orders", "/", "a1"}}
	seen := func() []bool {
		_, got, err := other.Candidates(ctx, nil, events)
		require.NoError(t, err)
		return got
	}
	require.Equal(t, []bool{false, false, false, false, false, false}, seen())
	require.NoError(t, s.MarkSeen(ctx, nil))
	require.NoError(t, s.MarkSeen(ctx, events[:1]))
	require.NoError(t, s.MarkSeen(ctx, events[:1]))
	require.Equal(t, []bool{true, false, false, false, false, false}, seen())
	require.NoError(t, s.MarkSeen(ctx, events[4:5]))
	require.Equal(t, []bool{true, false, false, false, true, false}, seen())
	left, err := s.rdb.TTL(ctx, s.key.seen(events[0].digest())).Result()
	require.NoError(t, err)
	require.InDelta(t, seenLife.Seconds(), left.Seconds(), 60)
	_, none, err := s.Candidates(ctx, nil, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestManyAreMarkedAsSeen(t *testing.T) {
	s, other := pair(t)
	var events []EventKey
	for i := range 1000 {
		events = append(events, EventKey{"orders", "/a", fmt.Sprint(i)})
	}
	var wg sync.WaitGroup
	for _, from := range []*Store{s, other} {
		wg.Go(func() {
			if err := from.MarkSeen(ctx, events); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, seen, err := s.Candidates(ctx, nil, events)
	require.NoError(t, err)
	require.NotContains(t, seen, false)
}
