package once

import "github.com/prometheus/client_golang/prometheus"

var (
	replayed   = prometheus.NewDesc("webhook_statements_replayed_total", "Calls that were refused since their statement was used before: somebody repeats calls to this gateway.", nil, nil)
	remembered = prometheus.NewDesc("webhook_statements_remembered", "Statements that are remembered as used.", nil, nil)
)

// Describe and Collect make a Set a prometheus.Collector.
func (s *Set) Describe(ch chan<- *prometheus.Desc) { ch <- replayed; ch <- remembered }

// Collect tells how often an id came again.
func (s *Set) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(replayed, prometheus.CounterValue, float64(s.repeated.Load()))
	ch <- prometheus.MustNewConstMetric(remembered, prometheus.GaugeValue, float64(s.size()))
}

func (s *Set) size() (n int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n += len(sh.young) + len(sh.old)
		sh.mu.Unlock()
	}
	return n
}
