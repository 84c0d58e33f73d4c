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
		look, err := other.Look(ctx, Anchor{}, nil, events)
		require.NoError(t, err)
		return look.Seen
	}
	require.Equal(t, []bool{false, false, false, false, false, false}, seen())
	require.NoError(t, s.MarkSeen(ctx, nil))
	require.NoError(t, s.MarkSeen(ctx, marked(events[:1], 1)))
	require.NoError(t, s.MarkSeen(ctx, marked(events[:1], 1)))
	require.Equal(t, []bool{true, false, false, false, false, false}, seen())
	require.NoError(t, s.MarkSeen(ctx, marked(events[4:5], 1)))
	require.Equal(t, []bool{true, false, false, false, true, false}, seen())
	left, err := s.rdb.TTL(ctx, s.key.seen(events[0].digest())).Result()
	require.NoError(t, err)
	require.InDelta(t, seenLife.Seconds(), left.Seconds(), 60)
	look, err := s.Look(ctx, Anchor{}, nil, nil)
	require.NoError(t, err)
	require.Empty(t, look.Seen)
}

func marked(events []EventKey, commands int) []Mark {
	marks := make([]Mark, len(events))
	for i, e := range events {
		marks[i] = Mark{Event: e, Taken: start, Commands: commands}
	}
	return marks
}

func TestAnEventThatNobodyWantedIsRememberedAndDoesNotCountAsSeen(t *testing.T) {
	s := open(t)
	events := []EventKey{{"orders", "/a", "1"}, {"orders", "/a", "2"}, {"orders", "/a", "3"}}
	require.NoError(t, s.MarkSeen(ctx, marked(events[:2], 0)))
	require.NoError(t, s.MarkSeen(ctx, marked(events[1:2], 10)))
	require.NoError(t, s.MarkSeen(ctx, marked(events[1:2], 0)))
	look, err := s.Look(ctx, Anchor{}, nil, events)
	require.NoError(t, err)
	require.Equal(t, []bool{false, true, false}, look.Seen)
	marks, err := s.Marks(ctx, events)
	require.NoError(t, err)
	require.Equal(t, []Mark{{Event: events[0], Taken: start}, {Event: events[1], Taken: start, Commands: 10}}, marks)
	dead := Mark{Event: events[2], Taken: start, Reason: "its data is no order"}
	require.NoError(t, s.MarkSeen(ctx, []Mark{dead}))
	marks, err = s.Marks(ctx, events[2:])
	require.NoError(t, err)
	require.Equal(t, []Mark{dead}, marks)
	look, err = s.Look(ctx, Anchor{}, nil, events[2:])
	require.NoError(t, err)
	require.Equal(t, []bool{false}, look.Seen)
	none, err := s.Marks(ctx, nil)
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
			if err := from.MarkSeen(ctx, marked(events, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	look, err := s.Look(ctx, Anchor{}, nil, events)
	require.NoError(t, err)
	require.NotContains(t, look.Seen, false)
}
