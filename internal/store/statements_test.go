package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAStatementIsUsedOnceByWhoeverComesFirst(t *testing.T) {
	s := open(t)
	for _, id := range []string{"st_1", "st_2"} {
		var firsts atomic.Int64
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if first, err := s.UseStatement(t.Context(), id, time.Minute); err == nil && first {
					firsts.Add(1)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, firsts.Load())
	}
}

func TestAUsedStatementIsForgottenAfterItsLife(t *testing.T) {
	s := open(t)
	first, err := s.UseStatement(t.Context(), "st_1", time.Minute)
	require.NoError(t, err)
	require.True(t, first)
	left, err := s.rdb.PTTL(t.Context(), s.key.used("st_1")).Result()
	require.NoError(t, err)
	require.InDelta(t, time.Minute, left, float64(5*time.Second))
}
