package keyring

import "github.com/prometheus/client_golang/prometheus"

var (
	keysHeld = prometheus.NewDesc("webhook_keyring_key", "1 for each key of the ring, by its id and whether it is the current one, which seals.",
		[]string{"id", "current"}, nil)
	fileFaulty = prometheus.NewDesc("webhook_keyring_fault", "1 while the key ring's file is broken or can't be read and the ring before it is used.", nil, nil)
)

// Describe and Collect make a Keyring a prometheus.Collector.
func (k *Keyring) Describe(ch chan<- *prometheus.Desc) { ch <- keysHeld; ch <- fileFaulty }

// Collect tells which keys there are now.
func (k *Keyring) Collect(ch chan<- prometheus.Metric) {
	for i, id := range k.Keys() {
		current := "false"
		if i == 0 {
			current = "true"
		}
		ch <- prometheus.MustNewConstMetric(keysHeld, prometheus.GaugeValue, 1, id, current)
	}
	fault := 0.0
	if k.Fault() != nil {
		fault = 1
	}
	ch <- prometheus.MustNewConstMetric(fileFaulty, prometheus.GaugeValue, fault)
}
