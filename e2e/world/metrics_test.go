package world

import (
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
