package rabbit

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// Metrics of a process's connections to the broker; a prometheus.Collector. Make it with NewMetrics.
type Metrics struct {
	published                            *prometheus.CounterVec
	confirmed, returned, nacked, failed  prometheus.Counter
	took                                 prometheus.Histogram
	taken, redelivered, losses, failures *prometheus.CounterVec
	up                                   *prometheus.GaugeVec
	blocked                              prometheus.Gauge
	frames                               frameCounter
	messages, consumers                  *prometheus.GaugeVec
}

// publishing is the label of the connection on which everything is published; others are those of their queues.
const publishing = "publish"

// NewMetrics makes the metrics of one process. They are shown once they are registered.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &Metrics{
		published: counter("webhook_broker_messages_published_total", "Messages handed to the broker by what it said: confirmed, returned (no queue), nacked, failed (no answer, or no connection).", "result"),
		took: prometheus.NewHistogram(metrics.Histogram("webhook_broker_publish_seconds",
			"Time from handing a batch of messages to the broker to its last confirm.", metrics.Quick)),
		taken:       counter("webhook_broker_messages_taken_total", "Messages taken from a queue.", "queue"),
		redelivered: counter("webhook_broker_redeliveries_total", "Messages that the broker handed out again.", "queue"),
		losses:      counter("webhook_broker_connections_lost_total", "Connections to the broker that were lost; each comes back by itself.", "connection"),
		failures:    counter("webhook_broker_connect_failures_total", "Tries to connect to the broker that failed.", "connection"),
		up:          gauge("webhook_broker_connected", "1 while the connection is there, 0 while it is lost: publish, or the queue that it consumes.", "connection"),
		blocked: prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_broker_blocked",
			Help: "1 while the broker blocks publishers, since it is short of memory or disk."}),
		messages:  gauge("webhook_queue_messages", "Messages that wait in a queue, as the broker tells every ten seconds. Each replica tells the same.", "queue"),
		consumers: gauge("webhook_queue_consumers", "Consumers of a queue, over all replicas.", "queue"),
	}
	m.confirmed, m.returned = m.published.WithLabelValues("confirmed"), m.published.WithLabelValues("returned")
	m.nacked, m.failed = m.published.WithLabelValues("nacked"), m.published.WithLabelValues("failed")
	return m
}

var framesExchanged = prometheus.NewDesc("webhook_broker_frames_total", "AMQP frames exchanged with the broker, by direction: sent, received.", []string{"direction"}, nil)

func (m *Metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.published, m.took, m.taken, m.redelivered, m.losses, m.failures, m.up, m.blocked, m.messages, m.consumers}
}

// Describe and Collect make it a prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- framesExchanged
	for _, c := range m.all() {
		c.Describe(ch)
	}
}

// Collect tells what was counted. It asks the broker for nothing.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(framesExchanged, prometheus.CounterValue, float64(m.frames.sent.Load()), "sent")
	ch <- prometheus.MustNewConstMetric(framesExchanged, prometheus.CounterValue, float64(m.frames.received.Load()), "received")
	for _, c := range m.all() {
		c.Collect(ch)
	}
}

// tried counts what became of a batch; on any error all of it counts as not published.
func (m *Metrics) tried(messages int, took time.Duration, err error) {
	var returned *ReturnedError
	outcome := m.failed
	switch {
	case err == nil:
		outcome = m.confirmed
		m.took.Observe(took.Seconds())
	case errors.As(err, &returned):
		outcome = m.returned
	case errors.Is(err, ErrNacked):
		outcome = m.nacked
	}
	outcome.Add(float64(messages))
}

// fell counts the loss of a connection. One that was closed on purpose is not there any more, rather than down.
func (m *Metrics) fell(connection string, closed bool) {
	if closed {
		m.up.DeleteLabelValues(connection)
		return
	}
	m.up.WithLabelValues(connection).Set(0)
	m.losses.WithLabelValues(connection).Inc()
}

func (m *Metrics) blocks(yes bool) {
	if yes {
		m.blocked.Set(1)
		return
	}
	m.blocked.Set(0)
}
