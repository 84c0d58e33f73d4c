package subscribe

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// lookups counts how callers were found.
type lookups struct{ hits, misses, failures atomic.Uint64 }

var (
	lookedUp = prometheus.NewDesc("webhook_caller_lookups_total",
		"Look-ups of what a caller may do, by result: hit (the answer is remembered), miss (Redis was asked), failed (Redis could not be asked).", []string{"result"}, nil)
	remembered = prometheus.NewDesc("webhook_callers_remembered", "Answers about callers in memory.", nil, nil)
)

// Describe and Collect make a Handler a prometheus.Collector.
func (h *Handler) Describe(ch chan<- *prometheus.Desc) { ch <- lookedUp; ch <- remembered }

// Collect tells how callers were found.
func (h *Handler) Collect(ch chan<- prometheus.Metric) {
	for result, n := range map[string]*atomic.Uint64{"hit": &h.keys.counted.hits, "miss": &h.keys.counted.misses, "failed": &h.keys.counted.failures} {
		ch <- prometheus.MustNewConstMetric(lookedUp, prometheus.CounterValue, float64(n.Load()), result)
	}
	ch <- prometheus.MustNewConstMetric(remembered, prometheus.GaugeValue, float64(h.keys.cache.Len()))
}
