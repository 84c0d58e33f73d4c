package world

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMetricIsTheSumOverItsLabels(t *testing.T) {
	const text = "# HELP calls x\n# TYPE calls counter\ncalls{to=\"a b\"} 3\ncalls{to=\"c\"} 1.5e+00\ncalls_total 100\nidle 0\n"
	for _, c := range []struct {
		name string
		want float64
	}{{"calls", 4.5}, {"calls_total", 100}, {"idle", 0}} {
		got, err := metricOf(text, c.name)
		require.NoError(t, err, c.name)
		require.InDelta(t, c.want, got, 0, c.name)
	}
	_, err := metricOf(text, "call")
	require.ErrorIs(t, err, ErrNoMetric)
	require.ErrorContains(t, err, "there is no metric call")
}

func TestBucketsAreSummedOverLabels(t *testing.T) {
	text := `# TYPE x_seconds histogram
x_seconds_bucket{queue="a",le="0.5"} 3
x_seconds_bucket{queue="b",le="0.5"} 1
x_seconds_bucket{queue="a",le="+Inf"} 7
x_seconds_sum{queue="a"} 2
xx_seconds_bucket{le="0.5"} 100
`
	got, err := bucketsOf(text, "x_seconds")
	require.NoError(t, err)
	require.Equal(t, map[float64]float64{.5: 4, math.Inf(1): 7}, got)
	_, err = bucketsOf(text, "y_seconds")
	require.ErrorIs(t, err, ErrNoMetric)
}
