package catalogue

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Violations counts the events that break the schemas of their resource.
type Violations struct{ total *prometheus.CounterVec }

// NewViolations registers the metric.
func NewViolations(registry prometheus.Registerer) *Violations {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "webhook_schema_violations_total", Help: "Events that break the schemas of their resource, by mode: warn (taken), reject (refused).",
	}, []string{"resource", "mode"})
	registry.MustRegister(total)
	return &Violations{total}
}

// Count counts what Check said of an event. Data that is too long breaks no schema.
func (v *Violations) Count(resource string, mode contract.SchemaMode, said error) {
	var faults *Faults
	if errors.As(said, &faults) && !faults.size {
		v.total.WithLabelValues(resource, string(mode)).Inc()
	}
}
