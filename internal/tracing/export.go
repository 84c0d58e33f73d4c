package tracing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/zap"
)

const (
	// maxQueue bounds the spans that wait to be sent; beyond it new ones are dropped, and nobody waits.
	maxQueue = 4096
	maxBatch = 512
	// exportTimeout is how long it may take to send a batch, repeats included.
	exportTimeout = 10 * time.Second
	// flushTimeout is how long the end of the process waits for the last spans.
	flushTimeout = 3 * time.Second
	// complainEvery is how often it is logged that spans cannot be sent.
	complainEvery = 30 * time.Second
	// maxText bounds each attribute's text.
	maxText = 256
)

// Exporting sends the spans of a process to a collector.
type Exporting struct {
	provider *sdk.TracerProvider
	out      *exporter
}

// Open makes the tracer that a configuration asks for: nil, and nothing to close, where it asks for none. process is the service's
// name unless the configuration has another. It does not connect yet; a collector that is away or hangs costs spans and nothing else.
func Open(c Config, process string, log *zap.Logger) (*Tracer, *Exporting, error) {
	if !c.on() {
		return nil, nil, nil
	}
	s, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	sender, err := otlptracehttp.New(context.Background(), // connects to nothing yet
		otlptracehttp.WithEndpointURL(s.url), otlptracehttp.WithHeaders(s.headers), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: exportTimeout / 2, MaxElapsedTime: exportTimeout,
		}))
	if err != nil {
		return nil, nil, errors.New("OTEL_EXPORTER_OTLP_ENDPOINT, or another variable of the exporter, cannot be used") // the library's text may hold values
	}
	e := &Exporting{out: newExporter(sender, log, s.headers)}
	e.provider = sdk.NewTracerProvider(
		sdk.WithSampler(s.sampler), sdk.WithIDGenerator(generator{}), sdk.WithResource(describe(process, c, s.resource)), sdk.WithRawSpanLimits(limits()),
		sdk.WithBatcher(e.out, sdk.WithMaxQueueSize(maxQueue), sdk.WithMaxExportBatchSize(maxBatch), sdk.WithExportTimeout(exportTimeout)),
	)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(e.out.complain)) // what the library would print by itself
	return New(e.provider), e, nil
}

// describe tells whose spans they are. A detector of the library that fails leaves only its own attributes out.
func describe(process string, c Config, more []attribute.KeyValue) *resource.Resource {
	own := append([]attribute.KeyValue{semconv.ServiceName(process), semconv.ServiceNamespace("apisix-webhooks")}, more...)
	if c.ServiceName != "" {
		own = append(own, semconv.ServiceName(c.ServiceName))
	}
	described, _ := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithSchemaURL(semconv.SchemaURL), resource.WithAttributes(own...))
	return described
}

func limits() sdk.SpanLimits {
	l := sdk.NewSpanLimits()
	if l.AttributeValueLengthLimit < 0 || l.AttributeValueLengthLimit > maxText {
		l.AttributeValueLengthLimit = maxText
	}
	return l
}

// Close sends what is left, for a short while, and ends. It never fails: a process is not worse off for spans that are lost.
func (e *Exporting) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	flush, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := e.provider.ForceFlush(flush); err != nil {
		e.out.log.Warn("the last spans were not sent in time")
	}
	e.out.cut() // whatever the collector does, nothing is waited for any more
	_ = e.provider.Shutdown(context.WithoutCancel(ctx))
	return nil
}

// exporter keeps a collector's failures to a line now and then, and ends with the process.
type exporter struct {
	sdk.SpanExporter

	log     *zap.Logger
	secrets *strings.Replacer
	life    context.Context
	cut     context.CancelFunc

	mu   sync.Mutex
	said time.Time
	lost int
}

func newExporter(to sdk.SpanExporter, log *zap.Logger, headers map[string]string) *exporter {
	e := &exporter{SpanExporter: to, log: log, secrets: hiding(headers)}
	e.life, e.cut = context.WithCancel(context.Background())
	return e
}

// hiding replaces the values of headers, which a collector may repeat in its answer.
func hiding(headers map[string]string) *strings.Replacer {
	var pairs []string
	for _, value := range headers {
		pairs = append(pairs, value, "(hidden)")
		if _, credential, found := strings.Cut(value, " "); found {
			pairs = append(pairs, credential, "(hidden)")
		}
	}
	return strings.NewReplacer(pairs...)
}

// ExportSpans never fails towards the library, which would print it.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if e.life.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.lose(len(spans), err)
	}
	return nil
}

func (e *exporter) complain(err error) { e.lose(0, err) }

func (e *exporter) lose(spans int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lost += spans
	if now := time.Now(); now.Sub(e.said) >= complainEvery {
		e.log.Warn("spans cannot be sent to the collector", zap.Int("lost", e.lost), zap.String("error", e.secrets.Replace(brief(err))))
		e.said, e.lost = now, 0
	}
}

func brief(err error) string {
	text := strings.Join(strings.Fields(fmt.Sprint(err)), " ")
	return strings.ToValidUTF8(text[:min(len(text), 300)], "")
}
