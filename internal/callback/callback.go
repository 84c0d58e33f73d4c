// Package callback makes the request of a callback as the consumer's endpoint will see it: the event in the subscription's
// format, and the signatures of Standard Webhooks 1.0 over exactly that body.
package callback

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

const userAgent = "apisix-webhooks/1"

// ErrRequest is what every error of Build wraps: no later attempt would fare better. The text holds no secret.
var ErrRequest = errors.New("the request cannot be built")

// Build makes headers and body: the event in the subscription's format, or what its transform makes of it, the consumer's own
// headers and credential, the trace, and the signatures. token is the access token where the credential is one of OAuth 2.0, in what
// the trace goes on from; what it lacks is made up.
func Build(cmd contract.Command, sub *contract.Subscription, token string, in trace.SpanContext, transforms *expr.Cache, now time.Time) (http.Header, []byte, error) {
	header, body, err := content(cmd.Event, sub, transforms)
	if err != nil {
		return nil, nil, err
	}
	for name, value := range sub.Headers {
		header.Set(name, value)
	}
	authorize(header, sub.Auth, token)
	tracing.ToHTTP(tracing.Complete(in), header)
	header.Set("User-Agent", userAgent)
	for name, values := range header {
		if !httpguts.ValidHeaderFieldValue(values[0]) {
			return nil, nil, fmt.Errorf("%w: %s has a control character", ErrRequest, name)
		}
	}
	return header, body, sign(header, cmd.Delivery, sub, now, body)
}

func content(e *event.Event, sub *contract.Subscription, transforms *expr.Cache) (http.Header, []byte, error) {
	if sub.Transform == "" || sub.Format != contract.FormatData || contract.IsTestEvent(e, *sub) {
		return encodeEvent(e, sub.Format)
	}
	transform, err := transforms.Transform(sub.Transform)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: transform: %w", ErrRequest, err)
	}
	body, err := transform.Apply(expr.NewVars(e))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: transform: %w", ErrRequest, err)
	}
	return http.Header{"Content-Type": {event.ApplicationJSON}}, body, nil
}

func encodeEvent(e *event.Event, format contract.Format) (http.Header, []byte, error) {
	header := http.Header{}
	switch format {
	case contract.FormatData:
		header.Set("Content-Type", contentType(e))
		return header, e.Data(), nil
	case contract.FormatBinary:
		return binaryHeader(e), e.Data(), nil
	}
	body, err := contract.WriteStructured(e)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	return header, body, nil
}

func contentType(e *event.Event) string {
	if ct := e.DataContentType(); ct != "" {
		return ct
	}
	if e.DataBase64 {
		return "application/octet-stream"
	}
	return event.ApplicationJSON
}

// binaryHeader makes headers of the attributes (CloudEvents HTTP binding 1.0, section 3.1.3). The SDK formats the values but
// does not percent-encode them.
func binaryHeader(e *event.Event) http.Header {
	attributes := *e
	attributes.DataEncoded = nil
	req := &http.Request{Header: http.Header{}}
	ctx := binding.WithForceBinary(context.Background()) // blocks on nothing
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&attributes), req); err != nil {
		return http.Header{"Content-Type": {contentType(e)}} // the event was valid when it came in: see contract.ParseEvent
	}
	for name, values := range req.Header {
		if strings.HasPrefix(name, "Ce-") {
			values[0] = percentEncode(values[0])
		}
	}
	if len(e.Data()) > 0 {
		req.Header.Set("Content-Type", contentType(e))
	}
	return req.Header
}

// percentEncode follows section 3.1.3.2: space, double quote, percent and all that is no printable ASCII, byte by byte.
func percentEncode(value string) string {
	var out strings.Builder
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

func authorize(header http.Header, auth *contract.Auth, token string) {
	if auth == nil {
		return
	}
	switch auth.Type {
	case contract.AuthBearer:
		header.Set("Authorization", "Bearer "+auth.Token)
	case contract.AuthBasic:
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
	case contract.AuthOAuth2:
		header.Set("Authorization", "Bearer "+token) // RFC 6750, section 2.1
	case contract.AuthHeaders:
		for name, value := range auth.Headers {
			header.Set(name, value)
		}
	}
}
