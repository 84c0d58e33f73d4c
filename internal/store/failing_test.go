package store

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFailingSince(t *testing.T) {
	s, other := pair(t)
	at := func(from *Store, now time.Time, subs ...string) map[string]time.Time {
		since, err := from.FailingSince(ctx, subs, now)
		require.NoError(t, err)
		return since
	}
	require.Empty(t, at(s, start))
	later := start.Add(time.Hour)
	require.Equal(t, map[string]time.Time{"sub_1": start}, at(s, start, "sub_1"))
	require.Equal(t, map[string]time.Time{"sub_1": start, "sub_2": later}, at(other, later, "sub_1", "sub_2", "sub_2"))
	require.NoError(t, s.Healthy(ctx, nil))
	require.NoError(t, s.Healthy(ctx, []string{"sub_1", "sub_3"}))
	require.Equal(t, map[string]time.Time{"sub_1": later, "sub_2": later}, at(other, later, "sub_1", "sub_2"))
	require.NoError(t, s.rdb.Set(ctx, s.key.failing("sub_4"), "nonsense", 0).Err())
	_, err := s.FailingSince(ctx, []string{"sub_4"}, later)
	require.ErrorIs(t, err, ErrDamaged)
}

func TestTheFirstFailureCounts(t *testing.T) {
	s, other := pair(t)
	var wg sync.WaitGroup
	told := make(chan time.Time, 20)
	for i := range 20 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			since, err := from.FailingSince(ctx, []string{"sub_1"}, start.Add(time.Duration(i)*time.Second))
			if err != nil {
				t.Error(err)
			}
			told <- since["sub_1"]
		})
	}
	wg.Wait()
	first := <-told
	for range 19 {
		require.Equal(t, first, <-told)
	}
}
