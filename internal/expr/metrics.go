package expr

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// lookups counts how often a text was there, and how often it had to be compiled.
type lookups struct{ hits, misses atomic.Uint64 }

var (
	lookedUp = prometheus.NewDesc("webhook_expression_lookups_total",
		"Expressions that were needed, by kind (filter, transform) and result: hit (it is kept compiled), miss.", []string{"kind", "result"}, nil)
	keptCompiled = prometheus.NewDesc("webhook_expressions_kept", "Expressions that are kept compiled, by kind.", []string{"kind"}, nil)
)

// Describe and Collect make a Cache a prometheus.Collector.
func (c *Cache) Describe(ch chan<- *prometheus.Desc) { ch <- lookedUp; ch <- keptCompiled }

// Collect tells how often an expression was kept.
func (c *Cache) Collect(ch chan<- prometheus.Metric) {
	tell := func(kind string, counted *lookups, kept int) {
		ch <- prometheus.MustNewConstMetric(lookedUp, prometheus.CounterValue, float64(counted.hits.Load()), kind, "hit")
		ch <- prometheus.MustNewConstMetric(lookedUp, prometheus.CounterValue, float64(counted.misses.Load()), kind, "miss")
		ch <- prometheus.MustNewConstMetric(keptCompiled, prometheus.GaugeValue, float64(kept), kind)
	}
	tell("filter", &c.ofFilters, c.filters.Len())
	tell("transform", &c.ofTransforms, c.transforms.Len())
}
