package api

import (
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

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// events is the way in for producers without AMQP.
type events struct {
	publisher Publisher
	names     rabbit.Names
}

const (
	pathEvents = "/{resource}/events"
	// publishTimeout bounds the wait for the broker's confirm.
	publishTimeout = 10 * time.Second
	// maxKey is AMQP's limit of a routing key, in bytes.
	maxKey = 255
)

func (e events) register(api huma.API) {
	op := operation("publish-event", http.MethodPost, pathEvents, "Publish a CloudEvent; 202 once the broker has confirmed it",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	op.DefaultStatus, op.Tags, op.MaxBodyBytes, op.BodyReadTimeout = http.StatusAccepted, []string{tagProducer}, contract.MaxEvent+1, 30*time.Second
	op.Description = "Structured mode, or binary mode with ce- headers and the data as body (CloudEvents HTTP binding 1.0)."
	register(api, op, e.publish)
	documentEvent(api.OpenAPI())
}

// documentEvent describes both modes, and lets the body be empty: a binary event may have no data.
func documentEvent(document *huma.OpenAPI) {
	text := &huma.Schema{Type: huma.TypeString}
	document.Paths[pathEvents].Post.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
		event.ApplicationCloudEventsJSON: {Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"specversion", "id", "source", "type"}, AdditionalProperties: true,
			Properties: map[string]*huma.Schema{"specversion": {Type: huma.TypeString, Enum: []any{"1.0"}}, "id": text, "source": text, "type": text},
		}},
		"*/*": {},
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
	parsed, err := parseEvent(in.header, in.RawBody)
	if err != nil {
		return nil, err
	}
	key := callerOf(ctx).Resource + "." + parsed.Type()
	if len(key) > maxKey {
		return nil, unprocessable(fault("type", fmt.Sprintf("is too long: with the resource it may have %d bytes", maxKey-1)))
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err = e.publisher.Publish(ctx, e.names.ToEvents(key, rabbit.Message{
		ContentType: parsed.DataContentType(), Headers: contract.EventHeaders(parsed), Body: parsed.DataEncoded,
	}))
	switch {
	case errors.Is(err, rabbit.ErrTooLarge):
		return nil, unprocessable(fault("attributes", "are too long: together they may have 96 KiB, the content type 255 bytes"))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	return nil, nil
}

// attributeHeader is the prefix of attributes among HTTP headers.
const attributeHeader = "ce-"

// parseEvent reads an event in either HTTP mode.
func parseEvent(header http.Header, body []byte) (*event.Event, error) {
	contentType := header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil && contentType != "":
		return nil, huma.Error415UnsupportedMediaType("the content-type can't be read")
	case strings.HasPrefix(media, event.ApplicationCloudEventsBatchJSON):
		return nil, huma.Error415UnsupportedMediaType("batches are not available yet: send one event per request")
	case media == event.ApplicationCloudEventsJSON:
		return parseStructured(body)
	case strings.HasPrefix(media, "application/cloudevents"):
		return nil, huma.Error415UnsupportedMediaType("use content-type " + event.ApplicationCloudEventsJSON + ", or the binary mode")
	}
	return parseBinary(header, body)
}

func parseStructured(body []byte) (*event.Event, error) {
	parsed, err := contract.ParseStructured(body)
	switch {
	case errors.Is(err, contract.ErrJSON):
		return nil, huma.Error400BadRequest("the body is not valid JSON", fault("body", "is not valid JSON"))
	case err != nil:
		return nil, badEvent("body", err)
	}
	return parsed, nil
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
	if err != nil {
		return nil, badEvent("header", err)
	}
	return parsed, nil
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

// badEvent is the answer to what contract refused; its text names the attribute and the fix.
func badEvent(location string, err error) error {
	return unprocessable(fault(location, strings.TrimPrefix(err.Error(), contract.ErrEvent.Error()+": ")))
}
