package index

import "github.com/prometheus/client_golang/prometheus"

var (
	subscriptionsKept = prometheus.NewDesc("webhook_index_subscriptions", "Active subscriptions in the index in memory.", nil, nil)
	resourcesKept     = prometheus.NewDesc("webhook_index_resources", "Resources in the index in memory.", nil, nil)
)

// Describe and Collect make an Index a prometheus.Collector.
func (x *Index) Describe(ch chan<- *prometheus.Desc) { ch <- subscriptionsKept; ch <- resourcesKept }

// Collect tells how much is in memory.
func (x *Index) Collect(ch chan<- prometheus.Metric) {
	subscriptions, resources := x.Size()
	ch <- prometheus.MustNewConstMetric(subscriptionsKept, prometheus.GaugeValue, float64(subscriptions))
	ch <- prometheus.MustNewConstMetric(resourcesKept, prometheus.GaugeValue, float64(resources))
}
