package listener

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
)

// Metrics of the listener.
type Metrics struct {
	events   *prometheus.CounterVec
	commands prometheus.Counter
	// unarchived events have their deliveries, but no replay will find them.
	unarchived prometheus.Counter
	// filterErrors count as no match.
	filterErrors *prometheus.CounterVec
	batch        prometheus.Histogram
	match        prometheus.Histogram
	published    prometheus.Histogram
	violations   *catalogue.Violations
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		violations: catalogue.NewViolations(registry),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_events_total", Help: "Events done with, by result: matched, unmatched, duplicate, dead (a dead letter), stuck.",
		}, []string{"result"}),
		commands: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_commands_published_total", Help: "Callback commands that the broker has confirmed.",
		}),
		unarchived: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_events_unarchived_total", Help: "Events that the archive did not take, so that no replay will find them.",
		}),
		filterErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_filter_errors_total", Help: "Filters that an event could not be put to, which counts as no match.",
		}, []string{"resource"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_event_batch_size", Help: "Events per batch.", Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200},
		}),
		match: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_event_match_seconds", Help: "Time to find the subscriptions of a batch.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}),
		published: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "webhook_match_to_publish_seconds", Help: "Time from matching a batch to the confirm of its commands. Large fan-outs are apart.",
			Buckets: prometheus.ExponentialBucketsRange(.0005, 10, 50),
		}),
	}
	for _, result := range []string{"matched", "unmatched", "duplicate", "dead", "stuck"} {
		m.events.WithLabelValues(result) // there from the start, as zero
	}
	registry.MustRegister(m.events, m.commands, m.unarchived, m.filterErrors, m.batch, m.match, m.published)
	return m
}
