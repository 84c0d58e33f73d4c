package api

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// accepted counts the events that came over HTTP.
type accepted struct {
	resources metrics.Resources
	events    *metrics.Kept[string, prometheus.Counter] // by resource
}

func newAccepted(registry prometheus.Registerer) *accepted {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_events_accepted_total", Help: "Events that were published over HTTP and that the broker has confirmed."},
		[]string{"resource"})
	registry.MustRegister(events)
	return &accepted{events: metrics.Keep(func(resource string) prometheus.Counter { return events.WithLabelValues(resource) })}
}

// count takes the resource of a caller whose grants on it the gateway has checked, so that it exists.
func (a *accepted) count(resource string, events int) {
	a.events.Of(a.resources.Label(resource)).Add(float64(events))
}
