package delivery

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// begin starts the span of an attempt. All attempts of a delivery stand side by side; each knows the one before.
func (e *Engine) begin(work context.Context, s *starting) (context.Context, tracing.Span) {
	below := tracing.OfCommand(s.cmd)
	if !e.Trace.On() {
		s.trace = tracing.Complete(below) // what the endpoint gets
		return work, tracing.Span{}
	}
	ctx, span := e.Trace.Start(work, below, tracing.Consumer, "process webhook.commands", tracing.Parse(s.cmd.Previous, ""))
	s.trace, s.cmd.Previous = span.Context(), ""
	if span.Recording() {
		s.cmd.Previous, _ = tracing.Format(s.trace)
		span.Set(append(tracing.Attempt(s.cmd), tracing.Message(tracing.Process, e.names.Commands)...)...)
		span.Set(tracing.MessageID(s.cmd.Delivery))
	}
	return ctx, span
}

// logAttempt writes the one line of an attempt. No error that comes here holds a secret.
func (e *Engine) logAttempt(s *starting, answer gateway.Answer, v Verdict, took time.Duration, err error) {
	if v.Kind == Succeed && e.QuietSuccess {
		return
	}
	line := e.Log.Check(zap.InfoLevel, "attempt")
	if line == nil {
		return
	}
	line.Write(zap.String("delivery", s.cmd.Delivery), zap.String("subscription", s.cmd.Subscription), zap.String("resource", s.cmd.Resource),
		zap.String("event", contract.Printable(s.cmd.Event.ID())), zap.String("source", contract.Printable(s.cmd.Event.Source())),
		zap.Int("attempt", s.cmd.Attempt), zap.String("replay", s.cmd.Replay), zap.Stringer("trace_id", s.trace.TraceID()), zap.Stringer("span_id", s.trace.SpanID()),
		zap.String("outcome", string(answer.Outcome)), zap.String("detail", string(v.Detail)), zap.Int("status", answer.Status), zap.Duration("took", took),
		zap.String("reason", v.Reason), zap.Error(err))
}
