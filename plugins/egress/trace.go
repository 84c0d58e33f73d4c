package egress

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

// begin starts the span of a call, below that of the plugin, and puts it in that one's place: it is what the endpoint sees.
// Without tracing the endpoint sees what the callback service sent.
func (e *Egress) begin(ctx context.Context, header http.Header, grant pass.Grant) (context.Context, tracing.Span) {
	if !e.trace.On() {
		return ctx, tracing.Span{}
	}
	method := cmp.Or(grant.Method, http.MethodPost)
	ctx, span := e.trace.Start(ctx, tracing.FromHTTP(header), tracing.Client, method)
	tracing.ToHTTP(span.Context(), header)
	if span.Recording() {
		port := cmp.Or(grant.Target.Port(), map[string]string{"http": "80", "https": "443"}[grant.Target.Scheme])
		span.Set(append(tracing.Request(method, grant.Target.Hostname(), port), tracing.Delivery(grant.Subscription, grant.Delivery)...)...)
	}
	return ctx, span
}

// phaseNames are what the span's events say has ended.
var phaseNames = map[phase]string{phaseDNS: "dns", phaseConnect: "connect", phaseTLS: "tls", phaseFirstByte: "first byte"}

// end ends it with what became of the call, and writes the call's line.
func (e *Egress) end(span tracing.Span, header http.Header, grant pass.Grant, a answer, watch *stopwatch) {
	if span.Recording() {
		watch.ends(func(p phase, at time.Time) { span.Event(phaseNames[p], at) })
		span.Outcome(a.outcome, a.detail, status(a))
	}
	span.End()
	level := zap.InfoLevel
	if status(a)/100 == 2 {
		level = zap.DebugLevel
	}
	if line := e.log.Check(level, "call"); line != nil {
		in := tracing.FromHTTP(header) // as the endpoint saw it
		line.Write(zap.String("delivery", grant.Delivery), zap.String("subscription", grant.Subscription), zap.String("outcome", string(a.outcome)),
			zap.String("detail", string(a.detail)), zap.Int("status", status(a)), zap.Duration("took", time.Since(watch.begun)),
			zap.Stringer("trace_id", in.TraceID()), zap.Stringer("span_id", in.SpanID()))
	}
}

// status is the endpoint's; zero if it did not answer.
func status(a answer) int {
	if a.outcome != contract.OutcomeResponse {
		return 0
	}
	return a.status
}
