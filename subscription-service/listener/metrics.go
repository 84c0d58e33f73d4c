package listener

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// Metrics of the listener.
type Metrics struct {
	resources metrics.Resources

	events   *metrics.Kept[eventKey, prometheus.Counter]
	commands *metrics.Kept[string, prometheus.Counter] // by resource
	dead     *metrics.Kept[deadReason, prometheus.Counter]
	// unarchived events have their deliveries, but no replay will find them.
	unarchived prometheus.Counter
	// filterErrors count as no match.
	filterErrors *metrics.Kept[string, prometheus.Counter] // by resource
	batch        prometheus.Histogram
	age          prometheus.Observer
	match        prometheus.Histogram
	published    prometheus.Histogram
	violations   *catalogue.Violations
}

type eventKey struct{ resource, result string }

// What became of events.
const (
	resultMatched   = "matched"
	resultUnmatched = "unmatched"
	resultDuplicate = "duplicate"
	resultDead      = "dead"
	resultStuck     = "stuck"
)

// deadReason is why an event is a dead letter.
type deadReason string

const (
	deadRefused    deadReason = "refused"     // its routing key, its size or its encoding
	deadUnreadable deadReason = "unreadable"  // it is no CloudEvent
	deadNoResource deadReason = "no_resource" // there is none of that name
	deadCatalogue  deadReason = "catalogue"   // the schema or the policy of its resource
	deadTooLarge   deadReason = "too_large"   // for a command
)

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	events := counter("webhook_events_total", "Events done with, by result: matched, unmatched, duplicate, dead (a dead letter), stuck.", "resource", "result")
	commands := counter("webhook_commands_published_total", "Callback commands that the broker has confirmed: one for each subscription that an event matched.", "resource")
	dead := counter("webhook_dead_letters_total", "Messages moved to the dead letters, by reason.", "reason")
	filterErrors := counter("webhook_filter_errors_total", "Filters that an event could not be put to, which counts as no match.", "resource")
	m := &Metrics{
		violations: catalogue.NewViolations(registry),
		events:     metrics.Keep(func(k eventKey) prometheus.Counter { return events.WithLabelValues(k.resource, k.result) }),
		commands:   metrics.Keep(func(resource string) prometheus.Counter { return commands.WithLabelValues(resource) }),
		dead:       metrics.Keep(func(why deadReason) prometheus.Counter { return dead.WithLabelValues(string(why)) }),
		unarchived: f.NewCounter(prometheus.CounterOpts{
			Name: "webhook_events_unarchived_total", Help: "Events that the archive did not take, so that no replay will find them.",
		}),
		filterErrors: metrics.Keep(func(resource string) prometheus.Counter { return filterErrors.WithLabelValues(resource) }),
		batch:        f.NewHistogram(metrics.Histogram("webhook_batch_events", "Events per batch.", []float64{1, 2, 5, 10, 20, 50, 100, 200})),
		age: f.NewHistogramVec(metrics.Histogram("webhook_queue_age_seconds",
			"Age of what is taken from a queue: since it was put there, or was due. Of events only those count whose time of publishing is known.", metrics.Waits),
			[]string{"queue"}).WithLabelValues("events"),
		match: f.NewHistogram(metrics.Histogram("webhook_event_match_seconds", "Time to find the subscriptions of a batch.", metrics.Quick)),
		published: f.NewHistogram(metrics.Histogram("webhook_match_to_publish_seconds",
			"Time from taking a batch to the confirm of its commands. Large fan-outs are apart.", prometheus.ExponentialBucketsRange(.0005, 10, 50))),
	}
	m.begin()
	return m
}

// begin makes what is bounded there from the start, as zero: what first comes up as one has no rate.
func (m *Metrics) begin() {
	for _, result := range []string{resultMatched, resultUnmatched, resultDuplicate, resultDead, resultStuck} {
		m.events.Of(eventKey{metrics.Other, result})
	}
	for _, why := range []deadReason{deadRefused, deadUnreadable, deadNoResource, deadCatalogue, deadTooLarge} {
		m.dead.Of(why)
	}
}

// taken notes events as they come from the queue.
func (m *Metrics) taken(jobs []*job, now time.Time) {
	m.batch.Observe(float64(len(jobs)))
	for _, j := range jobs {
		if at, known := j.message.Published(now); known {
			j.published = at.UTC()
			m.age.Observe(now.Sub(at).Seconds())
		}
	}
}

// done counts an event that is done with.
func (m *Metrics) done(j *job, result string) {
	m.events.Of(eventKey{j.label(m), result}).Inc()
	if j.reason != "" {
		m.dead.Of(j.dead).Inc()
	}
}

// label is that of the event's resource: what somebody sent as its name may be anything.
func (j *job) label(m *Metrics) string {
	if j.exists {
		return m.resources.Label(j.resource)
	}
	return m.resources.Known(j.resource)
}
