package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/trace"

	"github.com/apisix-webhooks/apisix-webhooks/internal/catalogue"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// events is the way in for producers without AMQP.
type events struct {
	publisher  Publisher
	names      rabbit.Names
	catalogue  *catalogue.Catalogue
	violations *catalogue.Violations
	meter      *meter
	accepted   *accepted
	trace      *tracing.Tracer
	now        func() time.Time
}

const (
	pathEvents = "/{resource}/events"
	// publishTimeout bounds the wait for the broker's confirm.
	publishTimeout = 10 * time.Second
	// maxKey is AMQP's limit of a routing key, in bytes.
	maxKey = 255
)

func (e events) register(api huma.API) {
	op := operation("publish-event", http.MethodPost, pathEvents, "Publish CloudEvents; 202 once the broker has confirmed them",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	op.DefaultStatus, op.Tags, op.MaxBodyBytes, op.BodyReadTimeout = http.StatusAccepted, []string{tagProducer}, contract.MaxEvent+1, 30*time.Second
	op.Description = fmt.Sprintf("Structured mode, batched mode with up to %d events, all or none of which are published, or binary mode with ce- headers "+
		"and the data as body (CloudEvents HTTP binding 1.0). The body may have %d MiB.", contract.MaxBatch, contract.MaxEvent>>20)
	register(api, op, e.publish)
	documentEvent(api.OpenAPI())
}

// documentEvent describes the modes, and lets the body be empty: a binary event may have no data.
func documentEvent(document *huma.OpenAPI) {
	text, most := &huma.Schema{Type: huma.TypeString}, contract.MaxBatch
	one := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"specversion", "id", "source", "type"}, AdditionalProperties: true,
		Properties: map[string]*huma.Schema{"specversion": {Type: huma.TypeString, Enum: []any{"1.0"}}, "id": text, "source": text, "type": text},
	}
	document.Paths[pathEvents].Post.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
		event.ApplicationCloudEventsJSON:      {Schema: one},
		event.ApplicationCloudEventsBatchJSON: {Schema: &huma.Schema{Type: huma.TypeArray, Items: one, MaxItems: &most}},
		"*/*":                                 {},
	}}
}

type eventRequest struct {
	Resource string `path:"resource"`
	RawBody  []byte `contentType:"application/cloudevents+json"`
	header   http.Header
}

// Resolve keeps the headers: in binary mode they are the event's attributes.
func (r *eventRequest) Resolve(ctx huma.Context) []error {
	r.header = http.Header{}
	ctx.EachHeader(func(name, value string) { r.header.Add(name, value) })
	return nil
}

func (e events) publish(ctx context.Context, in *eventRequest) (*struct{}, error) {
	got, err := receive(in.header, in.RawBody)
	if err != nil {
		return nil, err
	}
	ctx, span := e.trace.Child(ctx, tracing.Producer, "send webhook.events")
	defer span.End()
	messages, err := e.messages(callerOf(ctx).Resource, got, traceOf(ctx))
	if err != nil || len(messages) == 0 { // a batch may be empty
		return nil, err
	}
	if err := e.admit(callerOf(ctx).Resource, got); err != nil {
		return nil, err
	}
	if err := e.meter.further(ctx, len(messages)-1); err != nil {
		return nil, err
	}
	if span.Recording() {
		span.Set(append(tracing.Message(tracing.Send, e.names.Events), tracing.Batch(len(messages)))...)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := e.publisher.Publish(ctx, messages...); err != nil {
		span.Fail("broker")
		return nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	e.accepted.count(callerOf(ctx).Resource, len(messages))
	return nil, nil
}

// messages are the events as a producer on RabbitMQ would send them, carried with the trace of the call: all, or an error that names
// those which can't be sent.
func (e events) messages(resource string, got received, in trace.SpanContext) ([]rabbit.Message, error) {
	messages, now := make([]rabbit.Message, len(got.events)), e.now().UnixMilli()
	var faults []error
	for i, ev := range got.events {
		key := resource + "." + ev.Type()
		messages[i] = e.names.ToEvents(key, rabbit.EventMessage(ev))
		messages[i].Headers[rabbit.HeaderPublished] = now // the map is this message's own
		tracing.ToMessage(in, messages[i].Headers)
		if len(key) > maxKey {
			faults = append(faults, fault(got.place(i, "type"), fmt.Sprintf("is too long: with the resource it may have %d bytes", maxKey-1)))
		} else if messages[i].Check() != nil {
			faults = append(faults, fault(got.place(i, "attributes"), "are too long: together they may have 96 KiB, the content type 255 bytes"))
		}
	}
	if faults != nil {
		return nil, unprocessable(faults...)
	}
	return messages, nil
}

// attributeHeader is the prefix of attributes among HTTP headers.
const attributeHeader = "ce-"

// received are the events of a request.
type received struct {
	events []*event.Event
	// place says where in the request a field of an event is.
	place func(index int, field string) string
}

// receive reads a request in any of the three HTTP modes.
func receive(header http.Header, body []byte) (received, error) {
	contentType := header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil && contentType != "":
		return received{}, huma.Error415UnsupportedMediaType("the content-type can't be read")
	case media == event.ApplicationCloudEventsBatchJSON:
		events, err := contract.ParseBatch(body)
		return received{events, contract.InBatch}, badEvent(err, inBatchBody)
	case media == event.ApplicationCloudEventsJSON:
		one, err := contract.ParseStructured(body)
		return received{[]*event.Event{one}, inBody}, badEvent(err, inBody)
	case strings.HasPrefix(media, "application/cloudevents"):
		return received{}, huma.Error415UnsupportedMediaType(fmt.Sprintf("use content-type %s or %s, or the binary mode",
			event.ApplicationCloudEventsJSON, event.ApplicationCloudEventsBatchJSON))
	}
	one, err := parseBinary(header, body)
	return received{[]*event.Event{one}, inHeader}, err
}

func inBody(_ int, field string) string {
	return strings.TrimSuffix("body."+field, ".")
}

// inBatchBody is the place of what ParseBatch found: it has put the index before the field by itself.
func inBatchBody(_ int, field string) string {
	return cmp.Or(field, "body")
}

func inHeader(_ int, field string) string {
	if pointer, ok := strings.CutPrefix(field, "data/"); ok {
		return "body/" + pointer
	}
	switch field {
	case "", "attributes":
		return "header"
	case "data":
		return "body"
	case "datacontenttype":
		return "header.content-type"
	}
	return "header." + attributeHeader + field
}

// parseBinary turns the attributes' headers into those of AMQP, whose reader is the one for both.
func parseBinary(header http.Header, body []byte) (*event.Event, error) {
	attributes := map[string]any{}
	for name, values := range header {
		attribute, ok := strings.CutPrefix(strings.ToLower(name), attributeHeader)
		if !ok {
			continue
		}
		value, err := attributeValue(values)
		if err != nil {
			return nil, unprocessable(fault("header."+attributeHeader+contract.Printable(attribute), err.Error()))
		}
		attributes[contract.AttributePrefix+attribute] = value
	}
	if len(attributes) == 0 {
		return nil, huma.Error415UnsupportedMediaType("send content-type " + event.ApplicationCloudEventsJSON +
			", or the attributes as headers ce-specversion, ce-id, ce-source and ce-type")
	}
	parsed, err := contract.ParseEvent(header.Get("Content-Type"), attributes, body)
	return parsed, badEvent(err, inHeader)
}

// attributeValue undoes quotes and percent-encoding (CloudEvents HTTP binding 1.0, section 3.1.3.2).
func attributeValue(values []string) (string, error) {
	if len(values) != 1 {
		return "", errors.New("is there more than once")
	}
	value := values[0]
	if len(value) > 1 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
		value = unquote(value[1 : len(value)-1])
	}
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return "", errors.New("has a percent sign that starts no percent-encoding: write it as %25")
	}
	return decoded, nil
}

// unquote takes the backslashes of a quoted string away (RFC 9110, section 5.6.4).
func unquote(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// badEvent is the answer to what contract refused, one error for each fault.
func badEvent(err error, place func(int, string) string) error {
	var bad *contract.EventError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, contract.ErrJSON):
		return huma.Error400BadRequest("the body is not valid JSON", fault("body", "is not valid JSON in UTF-8"))
	case !errors.As(err, &bad):
		return err
	}
	faults := make([]error, len(bad.Faults))
	for i, f := range bad.Faults {
		faults[i] = fault(place(0, f.Field), f.Message)
	}
	return unprocessable(faults...)
}
