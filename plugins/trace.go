package main

import (
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// trace makes the tracer that the environment asks for. A fault of it costs the spans and nothing else.
func trace(log *zap.Logger) (*tracing.Tracer, *tracing.Exporting) {
	config, err := service.Environment[tracing.Config]()
	if err != nil {
		log.Error("there are no spans until the environment is right", zap.Error(err))
		return nil, nil
	}
	tracer, exporting, err := tracing.Open(config, "webhook-runner", log)
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
