package plugin

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsPath is where APISIX exports its metrics.
const MetricsPath = "/apisix/prometheus/metrics"

// Metrics counts calls by route and status.
type Metrics struct {
	registry *prometheus.Registry
	status   *prometheus.CounterVec
}

// NewMetrics makes the metrics of one gateway.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		status: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apisix_http_status", Help: "HTTP status codes per route.",
		}, []string{"code", "route"}),
	}
	m.registry.MustRegister(m.status)
	return m
}

// Handler serves the metrics at MetricsPath and 404 elsewhere.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+MetricsPath, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// StatusCounter counts the statuses of one route without a look-up by label.
type StatusCounter struct {
	metrics *Metrics
	route   string
	cached  [600]atomic.Pointer[prometheus.Counter]
}

// Route returns the counter of a route.
func (m *Metrics) Route(label string) *StatusCounter {
	return &StatusCounter{metrics: m, route: label}
}

// Count counts one answer with a status. A nil counter counts nothing.
func (s *StatusCounter) Count(status int) {
	if s == nil || status < 0 || status >= len(s.cached) {
		return
	}
	if c := s.cached[status].Load(); c != nil {
		(*c).Inc()
		return
	}
	c := s.metrics.status.WithLabelValues(strconv.Itoa(status), s.route)
	s.cached[status].Store(&c)
	c.Inc()
}
