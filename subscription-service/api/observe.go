package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// record is what is known of one request. It is filled along the way and logged once: never headers, never bodies.
type record struct {
	id       string
	route    string
	consumer string
	admin    string
	limited  string // the limit that refused it
	trace    trace.SpanContext
	stays    bool // its answer stays open: how long says nothing of the service
	err      error
}

type recordKey struct{}

// recordOf returns the request's record; one that nobody reads where there is none.
func recordOf(ctx context.Context) *record {
	if r, ok := ctx.Value(recordKey{}).(*record); ok {
		return r
	}
	return &record{}
}

// observer logs and counts requests.
type observer struct {
	log      *zap.Logger
	trace    *tracing.Tracer
	now      func() time.Time
	requests *metrics.Kept[served, prometheus.Counter]
	seconds  *metrics.Kept[served, prometheus.Observer]
	inFlight prometheus.Gauge
	limited  *prometheus.CounterVec
}

// served are the labels of a request.
type served struct{ route, class string }

func newObserver(log *zap.Logger, tracer *tracing.Tracer, registry prometheus.Registerer, now func() time.Time) *observer {
	labels := []string{"route", "class"}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_http_requests_total", Help: "Requests by route and status class."}, labels)
	seconds := prometheus.NewHistogramVec(metrics.Histogram("webhook_http_request_seconds", "Time to answer a request.", metrics.Calls), labels)
	o := &observer{log: log, trace: tracer, now: now,
		requests: metrics.Keep(func(s served) prometheus.Counter { return requests.WithLabelValues(s.route, s.class) }),
		seconds:  metrics.Keep(func(s served) prometheus.Observer { return seconds.WithLabelValues(s.route, s.class) }),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_http_requests_in_flight", Help: "Requests that are being answered."}),
		limited:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "webhook_limited_total", Help: "Calls refused by a limit."}, []string{"limit"}),
	}
	registry.MustRegister(requests, seconds, o.inFlight, o.limited)
	return o
}

// observe wraps a listener's whole handler; a panic below it becomes a bare 500.
func (o *observer) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := o.now()
		o.inFlight.Inc()
		defer o.inFlight.Dec()
		ctx, span := o.trace.Start(r.Context(), tracing.FromHTTP(r.Header), tracing.Server, "HTTP")
		rec := &record{id: requestID(r), route: "none", trace: span.Context()}
		answer := &statusWriter{ResponseWriter: w}
		w.Header().Set("Cache-Control", "no-store") // answers are one caller's own, some with a secret
		r = r.WithContext(context.WithValue(ctx, recordKey{}, rec))
		defer func() {
			if fault := recover(); fault != nil {
				o.crash(answer, rec, fault)
			}
			o.done(r, rec, answer.code(), o.now().Sub(start))
			endSpan(span, rec, answer.code())
		}()
		next.ServeHTTP(answer, r)
	})
}

func (o *observer) crash(w *statusWriter, rec *record, fault any) {
	o.log.Error("a handler panicked", zap.String("request", rec.id), zap.Any("panic", fault), zap.Stack("stack"))
	if w.status == 0 {
		writeProblem(w, bare500(rec))
	}
}

// traceOf is the trace context that what follows from a request goes on from: of the span that it is in, or what its caller sent.
func traceOf(ctx context.Context) trace.SpanContext {
	if in := tracing.Of(ctx); in.IsValid() {
		return in
	}
	return recordOf(ctx).trace
}

// endSpan names a request's span by its route. The path itself stays out: one holds a link that is a credential.
func endSpan(span tracing.Span, rec *record, status int) {
	if method, pattern, found := strings.Cut(rec.route, " "); found && span.Recording() {
		span.Rename(rec.route)
		span.Set(tracing.Route(method, pattern)...)
	}
	span.Answered(status)
	span.End()
}

func (o *observer) done(r *http.Request, rec *record, status int, took time.Duration) {
	class := strconv.Itoa(status/100) + "xx"
	o.requests.Of(served{rec.route, class}).Inc()
	if !rec.stays {
		o.seconds.Of(served{rec.route, class}).Observe(took.Seconds())
	}
	if rec.limited != "" {
		o.limited.WithLabelValues(rec.limited).Inc()
	}
	level := zapcore.InfoLevel
	fields := []zap.Field{
		zap.String("method", contract.Printable(r.Method)), zap.String("route", rec.route), zap.Int("status", status),
		zap.Duration("took", took), zap.String("request", rec.id), zap.String("consumer", rec.consumer),
	}
	if rec.trace.HasTraceID() {
		fields = append(fields, zap.Stringer("trace_id", rec.trace.TraceID()), zap.Stringer("span_id", rec.trace.SpanID()))
	}
	if rec.admin != "" {
		fields = append(fields, zap.String("admin", rec.admin))
	}
	if rec.err != nil && !errors.Is(rec.err, context.Canceled) {
		level = zapcore.ErrorLevel
		fields = append(fields, zap.Error(rec.err))
	}
	o.log.Log(level, "request", fields...)
}

var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// requestID takes the gateway's id if it is fit for a log line.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); plainID.MatchString(id) {
		return id
	}
	return contract.NewID("req")
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection, for read deadlines.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}
