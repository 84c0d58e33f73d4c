package delivery

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
)

// Metrics of the engine. No label has more than a handful of values.
type Metrics struct {
	attempts   *prometheus.CounterVec
	took       prometheus.Histogram
	inFlight   prometheus.Gauge
	deliveries *prometheus.CounterVec
}

// NewMetrics registers the engine's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	return &Metrics{
		attempts: f.NewCounterVec(prometheus.CounterOpts{Name: "webhook_attempts_total",
			Help: "Attempts by outcome and class of the endpoint's status."}, []string{"outcome", "status"}),
		took: f.NewHistogram(prometheus.HistogramOpts{Name: "webhook_attempt_seconds",
			Help: "Duration of an attempt through the gateway.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 16)}),
		inFlight: f.NewGauge(prometheus.GaugeOpts{Name: "webhook_attempts_in_flight", Help: "Attempts under way."}),
		deliveries: f.NewCounterVec(prometheus.CounterOpts{Name: "webhook_deliveries_total",
			Help: "Settled commands by the state of their delivery; none for commands that changed nothing."}, []string{"status"}),
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
	status := "none"
	if s.record != nil {
		status = string(s.record.Status)
	}
	m.deliveries.WithLabelValues(status).Inc()
}
