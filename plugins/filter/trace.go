package filter

import (
	"context"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// begin starts the span of a plugin, below what the caller or the gateway says.
func (g *Gate) begin(plugin string, r pkgHTTP.Request) tracing.Span {
	if !g.tracer.On() {
		return tracing.Span{}
	}
	_, span := g.tracer.Start(context.Background(), tracing.FromHTTP(r.Header().View()), tracing.Internal, plugin)
	return span
}

// end ends it, and lets what comes next stand below it. Without tracing the call keeps what it came with.
func (g *Gate) end(span tracing.Span, r pkgHTTP.Request, refusal *Refusal) {
	if !g.tracer.On() {
		return
	}
	if refusal != nil {
		span.Answered(refusal.problem.Status)
	} else {
		parent, _ := tracing.Format(span.Context()) // the state is the caller's, and stays
		r.Header().Set("Traceparent", parent)
	}
	span.End()
}
