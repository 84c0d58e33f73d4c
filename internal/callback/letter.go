package callback

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// Letter makes what a subscription that pulls will collect: what Build makes, but for what only a call to an endpoint has. It is
// signed when it is collected. Its errors are Build's.
func Letter(cmd contract.Command, sub *contract.Subscription, in trace.SpanContext, transforms *expr.Cache) (contract.Letter, error) {
	header, body, err := content(cmd.Event, sub, transforms)
	if err != nil {
		return contract.Letter{}, err
	}
	tracing.ToHTTP(tracing.Complete(in), header)
	lower := make(map[string]string, len(header))
	for name, values := range header {
		if !httpguts.ValidHeaderFieldValue(values[0]) {
			return contract.Letter{}, fmt.Errorf("%w: %s has a control character", ErrRequest, name)
		}
		lower[strings.ToLower(name)] = values[0]
	}
	return contract.Letter{Command: cmd, Header: lower, Body: body}, nil
}

// Sign returns the headers of a letter with its signatures, as of now.
func Sign(l contract.Letter, sub *contract.Subscription, now time.Time) (map[string]string, error) {
	signed := http.Header{}
	if err := sign(signed, l.Command.Delivery, sub, now, l.Body); err != nil {
		return nil, err
	}
	all := make(map[string]string, len(l.Header)+len(signed))
	for name, value := range l.Header {
		all[name] = value
	}
	for name := range signed {
		all[strings.ToLower(name)] = signed.Get(name)
	}
	return all, nil
}
