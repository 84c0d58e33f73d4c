package contract

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCountsSurviveTheWayAndAddUp(t *testing.T) {
	var c Counts
	require.Equal(t, "0", c.String())
	require.Equal(t, c, ParseCounts(c.String()))
	c.Events = 7
	c.Attempt(true, 3*time.Millisecond)
	c.Attempt(false, time.Minute)
	require.Equal(t, c, ParseCounts(c.String()))
	var sum Counts
	sum.Add(c)
	sum.Add(c)
	require.Equal(t, []int64{14, 2, 2}, []int64{sum.Events, sum.Succeeded, sum.Failed})
	require.Equal(t, Counts{Succeeded: 2}, ParseCounts("x 2 -3"))
}

func TestQuantilesGoByTheClassesOfDurations(t *testing.T) {
	var c Counts
	require.Zero(t, c.Quantile(0.5))
	for range 90 {
		c.Attempt(true, 7*time.Millisecond) // 5 to 10
	}
	for range 9 {
		c.Attempt(true, 200*time.Millisecond) // 100 to 250
	}
	c.Attempt(false, 50*time.Second)
	require.InDelta(t, 7.78, c.Quantile(0.5), 0.01)
	require.InDelta(t, 183.33, c.Quantile(0.95), 0.01)
	require.InDelta(t, 250, c.Quantile(0.99), 0.01)
	require.InDelta(t, 30_000, c.Quantile(1), 0.01, "it is not known how much longer")
	exact := Counts{}
	exact.Attempt(true, 5*time.Millisecond)
	require.LessOrEqual(t, exact.Quantile(1), 5.0)
}
