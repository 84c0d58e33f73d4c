package pass

import "github.com/prometheus/client_golang/prometheus"

var outstanding = prometheus.NewDesc("webhook_passes_outstanding", "Passes to the egress that are neither redeemed nor forgotten.", nil, nil)

// Describe and Collect make a Book a prometheus.Collector.
func (b *Book) Describe(ch chan<- *prometheus.Desc) { ch <- outstanding }

// Collect tells how many passes there are.
func (b *Book) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(outstanding, prometheus.GaugeValue, float64(b.Outstanding()))
}
