package metrics

import (
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestLintTellsWhatIsWrong(t *testing.T) {
	r := NewRegistry()
	faults, err := Lint(r)
	require.NoError(t, err)
	require.Empty(t, faults)

	r.MustRegister(
		prometheus.NewCounter(prometheus.CounterOpts{Name: "calls_total", Help: "Calls."}),
		prometheus.NewCounter(prometheus.CounterOpts{Name: "webhook_calls", Help: "Calls."}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_now_total", Help: "Now."}),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_silent"}),
		prometheus.NewHistogram(prometheus.HistogramOpts{Name: "webhook_classic_seconds", Help: "Classic."}),
		prometheus.NewHistogram(Histogram("webhook_took", "Took.", Quick)),
		prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_one", Help: "One.", ConstLabels: prometheus.Labels{"subscription": "sub_1"}}),
	)
	faults, err = Lint(r)
	require.NoError(t, err)
	require.Len(t, faults, 7)
	for i, want := range []string{"calls_total: begin", "webhook_calls: a counter", "webhook_classic_seconds: make its options", "webhook_now_total: only",
		"webhook_one: the label subscription", "webhook_silent: give it a help", "webhook_took: a histogram ends"} {
		require.Contains(t, faults[i], want)
	}
}

func TestResourcesBeyondTheBoundAreOther(t *testing.T) {
	var r Resources
	for i := range mostResources {
		require.Equal(t, fmt.Sprint("r", i), r.Label(fmt.Sprint("r", i)))
	}
	require.Equal(t, Other, r.Label("late"))
	require.Equal(t, "r7", r.Label("r7"))
	require.Equal(t, Other, r.LabelIf(false, "r7"), "what a stranger made up has no label of its own")
}

func TestKeptMakesEachOnce(t *testing.T) {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_x_total", Help: "X."}, []string{"kind"})
	var mu sync.Mutex
	made := map[int]int{}
	kept := Keep(func(k int) prometheus.Counter {
		mu.Lock()
		defer mu.Unlock()
		made[k]++
		return vec.WithLabelValues(fmt.Sprint(k))
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				kept.Of(i % 10).Inc()
			}
		})
	}
	wg.Wait()
	require.Len(t, made, 10)
	for i := range 10 {
		require.Equal(t, 1, made[i])
		require.InDelta(t, 800, testutil.ToFloat64(vec.WithLabelValues(fmt.Sprint(i))), 0)
	}
}

func BenchmarkALabelledCounter(b *testing.B) {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_x_total", Help: "X."}, []string{"resource", "outcome", "status"})
	type key struct{ resource, outcome, status string }
	kept := Keep(func(k key) prometheus.Counter { return vec.WithLabelValues(k.resource, k.outcome, k.status) })
	b.Run("kept", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				kept.Of(key{"orders", "response", "2xx"}).Inc()
			}
		})
	})
	b.Run("looked up", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				vec.WithLabelValues("orders", "response", "2xx").Inc()
			}
		})
	})
}
