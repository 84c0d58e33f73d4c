package testkit

import (
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// NewTracer makes a tracer that records everything, and what keeps its spans once they end.
func NewTracer() (*tracing.Tracer, *tracetest.InMemoryExporter) {
	kept := tracetest.NewInMemoryExporter()
	return tracing.New(sdk.NewTracerProvider(sdk.WithSyncer(kept))), kept
}
