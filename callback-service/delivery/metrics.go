package delivery

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// Metrics of the engine. Resources apart, no label has more than a handful of values.
type Metrics struct {
	resources metrics.Resources

	attempts *metrics.Kept[attemptKey, prometheus.Counter]
	took     *metrics.Kept[attemptKey, prometheus.Observer] // by outcome and status
	retries  *metrics.Kept[string, prometheus.Counter]      // by resource
	queued   *metrics.Kept[kind, prometheus.Observer]
	age      *metrics.Kept[string, prometheus.Observer] // by queue
	inFlight prometheus.Gauge
	settled  *metrics.Kept[settledKey, prometheus.Counter]
	ended    *metrics.Kept[endedKey, prometheus.Counter]
	whole    *metrics.Kept[string, prometheus.Observer] // by resource
	dead     *metrics.Kept[deadReason, prometheus.Counter]
	disabled prometheus.Counter
	parked   prometheus.Counter
	opened   prometheus.Counter
	unlogged prometheus.Counter
	registry prometheus.Registerer
}

type (
	attemptKey struct{ resource, outcome, status string }
	settledKey struct{ result, status string }
	endedKey   struct{ resource, status string }
)

// kind of an attempt.
type kind string

const (
	kindFirst  kind = "first"
	kindRetry  kind = "retry"
	kindReplay kind = "replay" // the first of a replay
)

// deadReason is why a command is a dead letter.
type deadReason string

const (
	deadUnreadable deadReason = "unreadable" // it is no command
	deadDamaged    deadReason = "damaged"    // the subscription's record is
	deadExhausted  deadReason = "exhausted"  // all its attempts failed
	deadGone       deadReason = "gone"       // the endpoint answered 410
	deadRequest    deadReason = "request"    // the request can't be made, or the gateway will never take it
)

// NewMetrics registers the engine's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, classic []float64, labels ...string) *prometheus.HistogramVec {
		return f.NewHistogramVec(metrics.Histogram(name, help, classic), labels)
	}
	attempts := counter("webhook_attempts_total", "Attempts by outcome and class of the endpoint's status.", "resource", "outcome", "status")
	took := histogram("webhook_attempt_seconds", "Duration of an attempt through the gateway.", metrics.Calls, "outcome", "status")
	retries := counter("webhook_retries_total", "Attempts that follow a failed one of the same delivery.", "resource")
	queued := histogram("webhook_attempt_queued_seconds",
		"Time from when an attempt was due to its beginning, by kind: first (due when the listener took the event), retry, replay.", metrics.Waits, "kind")
	age := histogram("webhook_queue_age_seconds", "Age of what is taken from a queue: since it was put there, or was due.", metrics.Waits, "queue")
	settled := counter("webhook_deliveries_total", "Settled commands by what became of them, and the state of their delivery where it is known.", "result", "status")
	ended := counter("webhook_deliveries_ended_total", "Deliveries that ended, by status: succeeded, failed, canceled.", "resource", "status")
	whole := histogram("webhook_delivery_seconds",
		"Time from an event's publishing, or where that is not known from its taking by the listener, to the endpoint's success. Replays are not counted.", metrics.Waits, "resource")
	dead := counter("webhook_dead_letters_total", "Messages moved to the dead letters, by reason.", "reason")
	m := &Metrics{
		attempts: metrics.Keep(func(k attemptKey) prometheus.Counter {
			return attempts.WithLabelValues(k.resource, k.outcome, k.status)
		}),
		took:     metrics.Keep(func(k attemptKey) prometheus.Observer { return took.WithLabelValues(k.outcome, k.status) }),
		retries:  metrics.Keep(func(resource string) prometheus.Counter { return retries.WithLabelValues(resource) }),
		queued:   metrics.Keep(func(k kind) prometheus.Observer { return queued.WithLabelValues(string(k)) }),
		age:      metrics.Keep(func(queue string) prometheus.Observer { return age.WithLabelValues(queue) }),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Name: "webhook_attempts_in_flight", Help: "Attempts made or under way whose command is not settled yet."}),
		settled:  metrics.Keep(func(k settledKey) prometheus.Counter { return settled.WithLabelValues(k.result, k.status) }),
		ended:    metrics.Keep(func(k endedKey) prometheus.Counter { return ended.WithLabelValues(k.resource, k.status) }),
		whole:    metrics.Keep(func(resource string) prometheus.Observer { return whole.WithLabelValues(resource) }),
		dead:     metrics.Keep(func(why deadReason) prometheus.Counter { return dead.WithLabelValues(string(why)) }),
		disabled: f.NewCounter(prometheus.CounterOpts{Name: "webhook_subscriptions_disabled_total", Help: "Subscriptions that were disabled: gone, or nothing but failures for too long."}),
		parked:   f.NewCounter(prometheus.CounterOpts{Name: "webhook_parked_total", Help: "Commands given back to the broker until their time comes."}),
		opened:   f.NewCounter(prometheus.CounterOpts{Name: "webhook_breakers_opened_total", Help: "Circuit breakers that opened."}),
		unlogged: f.NewCounter(prometheus.CounterOpts{Name: "webhook_log_dropped_total", Help: "Attempts that are missing in the log of attempts: too many at once, or Redis did not take them."}),
		registry: registry,
	}
	m.begin()
	return m
}

// begin makes what is bounded there from the start, as zero: what first comes up as one has no rate.
func (m *Metrics) begin() {
	for _, why := range []deadReason{deadUnreadable, deadDamaged, deadExhausted, deadGone, deadRequest} {
		m.dead.Of(why)
	}
	for _, k := range []kind{kindFirst, kindRetry, kindReplay} {
		m.queued.Of(k)
	}
}

// taken notes that a command came from a queue. One that goes round in the delays was due when it came.
func (m *Metrics) taken(queue string, t *task, now time.Time) {
	if t.dated() {
		m.age.Of(queue).Observe(max(0, now.Sub(t.since()).Seconds()))
	}
}

// dated reports whether it is known since when: when a replay came to be is not, its event is of long ago.
func (t *task) dated() bool {
	_, delayed := t.message.Due()
	return delayed || t.kind() != kindReplay
}

// since is from when on an attempt could have been made.
func (t *task) since() time.Time {
	if due, delayed := t.message.Due(); delayed && t.kind() != kindFirst {
		return due
	}
	return t.cmd.Created
}

// waited is how long an attempt could have been made and was not; zero where that is not known.
func (t *task) waited(until time.Time) time.Duration {
	if !t.dated() {
		return 0
	}
	return max(0, until.Sub(t.since()))
}

func (t *task) kind() kind {
	switch {
	case t.cmd.Attempt > t.cmd.First:
		return kindRetry
	case t.cmd.Replay != "":
		return kindReplay
	}
	return kindFirst
}

// begins notes that an attempt begins.
func (m *Metrics) begins(s *starting, now time.Time) {
	m.inFlight.Inc()
	k := s.kind()
	if s.dated() {
		m.queued.Of(k).Observe(max(0, now.Sub(s.since()).Seconds()))
	}
	if k == kindRetry {
		m.retries.Of(m.resources.Label(s.sub.Resource)).Inc()
	}
}

func (m *Metrics) attempt(s *starting, answer gateway.Answer, took time.Duration) {
	outcome, class := "gateway", "none"
	if slices.Contains(outcomes, answer.Outcome) { // else the gateway failed, or says what none of ours does
		outcome = string(answer.Outcome)
	}
	if status := endpointStatus(answer); status != 0 {
		class = classes[min(status/100, len(classes)-1)]
	}
	m.attempts.Of(attemptKey{m.resources.Label(s.sub.Resource), outcome, class}).Inc()
	m.took.Of(attemptKey{outcome: outcome, status: class}).Observe(took.Seconds())
}

var outcomes = []contract.Outcome{
	contract.OutcomeResponse, contract.OutcomeAddressRefused, contract.OutcomeDNS, contract.OutcomeConnect, contract.OutcomeTLS,
	contract.OutcomeTimeout, contract.OutcomeReset, contract.OutcomeToken, contract.OutcomeUnvouched, contract.OutcomeOverloaded,
}

// classes of statuses; what is none of HTTP's has the last.
var classes = func() (all [11]string) {
	for i := range all {
		all[i] = strconv.Itoa(i) + "xx"
	}
	all[len(all)-1] = "none"
	return all
}()

func (m *Metrics) count(s settlement, now time.Time) {
	if s.result == resultAttempt {
		m.inFlight.Dec()
	}
	if s.task == nil || s.result == resultHop {
		return
	}
	status := "none"
	if s.record != nil {
		status = string(s.record.Status)
		m.end(s, now)
	}
	m.settled.Of(settledKey{string(s.result), status}).Inc()
	if s.dead != "" {
		m.dead.Of(s.dead).Inc()
	}
}

// end counts a delivery that is done with.
func (m *Metrics) end(s settlement, now time.Time) {
	if s.record.Status == contract.DeliveryPending {
		return
	}
	resource := m.resources.LabelIf(s.task.resource != "", s.task.resource)
	m.ended.Of(endedKey{resource, string(s.record.Status)}).Inc()
	if s.record.Status == contract.DeliverySucceeded && s.task.cmd.Replay == "" {
		m.whole.Of(resource).Observe(max(0, now.Sub(s.task.cmd.Begun()).Seconds()))
	}
}

// observe shows what the engine holds.
func (m *Metrics) observe(e *Engine) {
	gauge := func(name, help string, value func(lane.Stats) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(e.lanes.Stats()) }))
	}
	gauge("webhook_lanes", "Subscriptions that had deliveries lately.", func(s lane.Stats) float64 { return float64(s.Lanes) })
	gauge("webhook_breakers_open", "Subscriptions whose circuit breaker is open.", func(s lane.Stats) float64 { return float64(s.Open) })
	gauge("webhook_deliveries_waiting", "Commands that wait in memory for their turn.", func(s lane.Stats) float64 { return float64(s.Waiting) })
	gauge("webhook_deliveries_waiting_bytes", "What waits in memory for its turn.", func(s lane.Stats) float64 { return float64(s.WaitingBytes) })
	gauge("webhook_deliveries_parked", "Commands that wait at the broker for their turn, about.", func(s lane.Stats) float64 { return float64(s.Parked) })
	m.registry.MustRegister(&oldest{e})
}

var (
	oldestWaits = prometheus.NewDesc("webhook_oldest_waiting_seconds",
		"How long the oldest command waits in memory that has not begun, by place: lane (its turn), line (an earlier event of its subject), rest (the gateway, or a key). Zero: none waits.",
		[]string{"place"}, nil)
	held = prometheus.NewDesc("webhook_commands_held", "Commands that are taken from the broker and not settled.", nil, nil)
)

// oldest is a prometheus.Collector of ages.
type oldest struct{ engine *Engine }

func (o *oldest) Describe(ch chan<- *prometheus.Desc) { ch <- oldestWaits; ch <- held }

func (o *oldest) Collect(ch chan<- prometheus.Metric) {
	e := o.engine
	for place, since := range map[string]time.Time{"lane": e.lanes.Stats().Oldest, "line": e.lines.oldest(), "rest": e.rest.oldest()} {
		age := 0.0
		if !since.IsZero() {
			age = max(0, e.Now().Sub(since).Seconds())
		}
		ch <- prometheus.MustNewConstMetric(oldestWaits, prometheus.GaugeValue, age, place)
	}
	ch <- prometheus.MustNewConstMetric(held, prometheus.GaugeValue, float64(e.book.size()))
}
