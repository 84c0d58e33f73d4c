package delivery

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
)

// Metrics of the engine. No label has more than a handful of values.
type Metrics struct {
	attempts   *prometheus.CounterVec
	took       prometheus.Histogram
	inFlight   prometheus.Gauge
	deliveries *prometheus.CounterVec
	parked     prometheus.Counter
	opened     prometheus.Counter
	unlogged   prometheus.Counter
	registry   prometheus.Registerer
}

// NewMetrics registers the engine's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	return &Metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{Name: "webhook_attempts_total",
			Help: "Attempts by outcome and class of the endpoint's status."}, []string{"outcome", "status"}),
		took: f.NewHistogram(prometheus.HistogramOpts{Name: "webhook_attempt_seconds",
			Help: "Duration of an attempt through the gateway.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Name: "webhook_attempts_in_flight", Help: "Attempts made or under way whose command is not settled yet."}),
		deliveries: f.NewCounterVec(prometheus.CounterOpts{Name: "webhook_deliveries_total",
			Help: "Settled commands by what became of them, and the state of their delivery where it is known."}, []string{"result", "status"}),
		parked:   f.NewCounter(prometheus.CounterOpts{Name: "webhook_parked_total", Help: "Commands given back to the broker until their time comes."}),
		opened:   f.NewCounter(prometheus.CounterOpts{Name: "webhook_breakers_opened_total", Help: "Circuit breakers that opened."}),
		unlogged: f.NewCounter(prometheus.CounterOpts{Name: "webhook_log_dropped_total", Help: "Attempts that are missing in the log of attempts: too many at once, or Redis did not take them."}),

		registry: registry,
	}
}

func (m *Metrics) attempt(answer gateway.Answer, took time.Duration) {
	outcome, class := string(answer.Outcome), "none"
	if outcome == "" {
		outcome = "gateway"
	}
	if status := endpointStatus(answer); status != 0 {
		class = strconv.Itoa(status/100) + "xx"
	}
	m.attempts.WithLabelValues(outcome, class).Inc()
	m.took.Observe(took.Seconds())
}

func (m *Metrics) settled(s settlement) {
	if s.task == nil || s.result == resultHop {
		return
	}
	status := "none"
	if s.record != nil {
		status = string(s.record.Status)
	}
	m.deliveries.WithLabelValues(string(s.result), status).Inc()
}

// observe shows what the lanes hold.
func (m *Metrics) observe(stats func() lane.Stats) {
	gauge := func(name, help string, value func(lane.Stats) int) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value(stats())) }))
	}
	gauge("webhook_lanes", "Subscriptions that had deliveries lately.", func(s lane.Stats) int { return s.Lanes })
	gauge("webhook_breakers_open", "Subscriptions whose circuit breaker is open.", func(s lane.Stats) int { return s.Open })
	gauge("webhook_waiting", "Commands that wait in memory for their turn.", func(s lane.Stats) int { return s.Waiting })
	gauge("webhook_parked", "Commands that wait at the broker for their turn, about.", func(s lane.Stats) int { return s.Parked })
}
