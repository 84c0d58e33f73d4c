package callback

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	cetest "github.com/cloudevents/sdk-go/v2/test"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// A consumer who reads callbacks with the SDK gets the event that a producer wrote with it.
func TestTheSDKReadsCallbacks(t *testing.T) {
	events := append(cetest.Events(), strange())
	for _, sent := range events {
		if sent.SpecVersion() != event.CloudEventsVersionV1 {
			continue // refused when they come in: see contract
		}
		for _, format := range []contract.Format{contract.FormatStructured, contract.FormatBinary} {
			t.Run(sent.ID()+"/"+string(format), func(t *testing.T) {
				m := rabbit.EventMessage(&sent)
				e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
				require.NoError(t, err)
				header, body, err := build(contract.NewCommand(e, "sub_1", "orders", noon), subscription(format), noon)
				require.NoError(t, err)
				got := received(t, header, body)
				cetest.AssertEventEquals(t, cetest.ConvertEventExtensionsToString(t, sent), cetest.ConvertEventExtensionsToString(t, got))
			})
		}
	}
}

// strange has attributes that headers carry only encoded.
func strange() event.Event {
	e := cetest.MinEvent()
	e.SetID("strange")
	e.SetSubject("100% \"Zoë\" €\t🎈")
	e.SetExtension("note", "a, b; c=\"d\"")
	_ = e.SetData("text/plain", "grüße")
	return e
}

// received undoes the percent-encoding (HTTP binding 1.0, section 3.1.3.2), of which the SDK knows nothing.
func received(t *testing.T, header http.Header, body []byte) event.Event {
	t.Helper()
	for name, values := range header {
		if strings.HasPrefix(name, "Ce-") {
			value, err := url.PathUnescape(values[0])
			require.NoError(t, err)
			header[name] = []string{value}
		}
	}
	e, err := cehttp.NewEventFromHTTPRequest(&http.Request{Header: header, Body: io.NopCloser(bytes.NewReader(body))})
	require.NoError(t, err)
	return *e
}
