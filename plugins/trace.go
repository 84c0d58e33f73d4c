package main

import (
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// spans is read by itself, so that a fault of it refuses no call.
type spans struct {
	Tracing tracing.Config `envPrefix:"OTEL_"`
}

// trace makes the tracer that the environment asks for. A fault of it costs the spans and nothing else.
func trace(log *zap.Logger) (*tracing.Tracer, *tracing.Exporting) {
	config, err := service.Environment[spans]()
	if err != nil {
		log.Error("there are no spans until the environment is right", zap.Error(err))
		return nil, nil
	}
	tracer, exporting, err := tracing.Open(config.Tracing, "webhook-runner", log)
	if err != nil {
		log.Error("there are no spans until the environment is right", zap.Error(err))
	}
	return tracer, exporting
}

// watched sets who hears of each call.
func (p *process) watched(tracer *tracing.Tracer, calls *zap.Logger) {
	p.tracer, p.calls = tracer, calls
	p.gate.TraceBy(tracer)
}
