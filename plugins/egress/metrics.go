package egress

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// counts are an Egress's metrics.
type counts struct {
	calls       *prometheus.CounterVec
	took        *prometheus.HistogramVec
	connections *prometheus.CounterVec
	inFlight    prometheus.Gauge

	ended        *metrics.Kept[ended, prometheus.Counter]
	phases       [phases]prometheus.Observer // of those that are told
	whole        prometheus.Observer
	fresh, reuse prometheus.Counter
}

// ended is what became of a call.
type ended struct {
	outcome contract.Outcome
	class   int // of the endpoint's status; zero: it gave none
}

func newCounts() *counts {
	c := &counts{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_egress_calls_total",
			Help: "Calls to endpoints, and refused ones, by outcome and class of the endpoint's status."}, []string{"outcome", "status"}),
		took: prometheus.NewHistogramVec(metrics.Histogram("webhook_egress_seconds",
			"Where the time of calls to endpoints goes, by phase: dns, connect, tls (of new connections), first_byte, total.", metrics.Calls), []string{"phase"}),
		connections: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_egress_connections_total",
			Help: "Connections that calls went by, by kind: new, reused."}, []string{"kind"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_egress_calls_in_flight", Help: "Calls to endpoints under way."}),
	}
	c.ended = metrics.Keep(func(e ended) prometheus.Counter { return c.calls.WithLabelValues(string(e.outcome), classOf(e.class)) })
	for p, name := range map[phase]string{phaseDNS: "dns", phaseConnect: "connect", phaseTLS: "tls", phaseFirstByte: "first_byte"} {
		c.phases[p] = c.took.WithLabelValues(name)
	}
	c.whole = c.took.WithLabelValues("total")
	c.fresh, c.reuse = c.connections.WithLabelValues("new"), c.connections.WithLabelValues("reused")
	return c
}

func classOf(class int) string {
	if class == 0 {
		return "none"
	}
	return strconv.Itoa(class) + "xx"
}

func (c *counts) end(a answer) {
	e := ended{outcome: a.outcome}
	if a.outcome == contract.OutcomeResponse {
		e.class = a.status / 100 // below 10: the egress takes no other for an answer
	}
	c.ended.Of(e).Inc()
}

// timed counts a call that was made. Phases that it did not have are left out.
func (c *counts) timed(t contract.Timings) {
	c.whole.Observe(seconds(t.TotalMS))
	c.phase(phaseDNS, t.DNSMS)
	c.phase(phaseConnect, t.ConnectMS)
	c.phase(phaseTLS, t.TLSMS)
	c.phase(phaseFirstByte, t.FirstByteMS)
	switch {
	case t.Reused:
		c.reuse.Inc()
	case t.FirstByteMS > 0: // the call went out
		c.fresh.Inc()
	}
}

func (c *counts) phase(p phase, ms float64) {
	if ms > 0 {
		c.phases[p].Observe(seconds(ms))
	}
}

func seconds(ms float64) float64 { return ms / float64(time.Second/time.Millisecond) }

// Describe and Collect make an Egress a prometheus.Collector.
func (e *Egress) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range e.counts.all() {
		c.Describe(ch)
	}
}

// Collect tells of the calls.
func (e *Egress) Collect(ch chan<- prometheus.Metric) {
	for _, c := range e.counts.all() {
		c.Collect(ch)
	}
}

func (c *counts) all() []prometheus.Collector {
	return []prometheus.Collector{c.calls, c.took, c.connections, c.inFlight}
}
