package filter

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

const (
	decisionAllowed = "allowed"
	decisionRefused = "refused"
	// noReason is the reason of what is allowed, and of what is refused with a problem of no kind of ours.
	noReason = "none"
)

// counts are a Gate's metrics.
type counts struct {
	calls *prometheus.CounterVec
	took  *prometheus.HistogramVec

	decided *metrics.Kept[decided, prometheus.Counter]
	lasted  *metrics.Kept[string, prometheus.Observer] // by plugin
}

type decided struct{ plugin, decision, reason string }

func newCounts() *counts {
	c := &counts{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_plugin_calls_total",
			Help: "Calls that a plugin decided on, by decision: allowed, refused; and by reason: the kind of problem that the caller reads."}, []string{"plugin", "decision", "reason"}),
		took: prometheus.NewHistogramVec(metrics.Histogram("webhook_plugin_seconds", "Time that a plugin took to decide.", metrics.Quick), []string{"plugin"}),
	}
	c.decided = metrics.Keep(func(d decided) prometheus.Counter { return c.calls.WithLabelValues(d.plugin, d.decision, d.reason) })
	c.lasted = metrics.Keep(func(plugin string) prometheus.Observer { return c.took.WithLabelValues(plugin) })
	return c
}

func (c *counts) decide(plugin string, refusal *Refusal, took time.Duration) {
	d := decided{plugin, decisionAllowed, noReason}
	if refusal != nil {
		d.decision, d.reason = decisionRefused, reasonOf(refusal.problem)
	}
	c.decided.Of(d).Inc()
	c.lasted.Of(plugin).Observe(took.Seconds())
}

// reasonOf is one of the kinds, whose set is closed.
func reasonOf(p contract.Problem) string {
	if kind, ours := p.Kind(); ours {
		return string(kind)
	}
	return noReason
}

var underWay = prometheus.NewDesc("webhook_plugin_calls_in_flight", "Calls that are inside a plugin.", nil, nil)

// Describe and Collect make a Gate a prometheus.Collector.
func (g *Gate) Describe(ch chan<- *prometheus.Desc) {
	ch <- underWay
	g.counts.calls.Describe(ch)
	g.counts.took.Describe(ch)
}

// Collect tells what was decided.
func (g *Gate) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(underWay, prometheus.GaugeValue, float64(g.InFlight()))
	g.counts.calls.Collect(ch)
	g.counts.took.Collect(ch)
}
