package api_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	cetest "github.com/cloudevents/sdk-go/v2/test"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// The scenarios of cloudevents/conformance, features/http-protocol-binding.feature, each with its examples.
func TestConformanceOfTheHTTPBinding(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	const data = "{\n    \"message\": \"Hello World!\"\n}"
	attributes := []string{"ce-specversion", "1.0", "ce-type", "com.example.someevent", "ce-time", "2018-04-05T03:56:24Z", "ce-id", "1234-1234-1234", "ce-source", "/mycontext/subcontext"}
	const one = `{"specversion":"1.0","type":"com.example.someevent","time":"2018-04-05T03:56:24Z","id":"1234-1234-1234","source":"/mycontext/subcontext",
		"datacontenttype":"application/json","data":` + data + `}`
	for _, c := range []struct {
		mode, contentType, body string
		headers                 []string
		want                    string
	}{
		{"binary", "application/json", data, attributes, "application/json"},
		{"binary", "application/json; charset=utf-8", data, attributes, "application/json; charset=utf-8"},
		{"structured", "application/cloudevents+json", one, nil, "application/json"},
		{"structured", "application/cloudevents+json; charset=utf-8", one, nil, "application/json"},
	} {
		t.Run(c.mode+" "+c.contentType, func(t *testing.T) {
			a := w.as(shop, "POST", "/orders/events", c.body, append(c.headers, "Content-Type", c.contentType)...)
			require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
			e := parsed(t, w.publisher.take())[0]
			require.Equal(t, []string{"1234-1234-1234", "1.0", "com.example.someevent", "/mycontext/subcontext", "2018-04-05T03:56:24Z", c.want},
				[]string{e.ID(), e.SpecVersion(), e.Type(), e.Source(), e.Time().Format("2006-01-02T15:04:05Z07:00"), e.DataContentType()})
			require.Empty(t, e.Extensions())
			require.Equal(t, data, string(e.Data()))
		})
	}
}

// parsed are the events as the listener reads them.
func parsed(t *testing.T, messages []rabbit.Message) []event.Event {
	t.Helper()
	events := make([]event.Event, len(messages))
	for i, m := range messages {
		e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
		require.NoError(t, err)
		events[i] = *e
	}
	return events
}

func TestTheSDKsRequestsAreUnderstood(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	var v1 []event.Event
	for _, e := range cetest.Events() {
		if e.SpecVersion() == event.CloudEventsVersionV1 {
			v1 = append(v1, e)
		}
	}
	binary, structuredMode := context.Background(), binding.WithForceStructured(context.Background())
	for mode, write := range map[string]func() (*http.Request, error){
		"binary":     func() (*http.Request, error) { return cehttp.NewHTTPRequestFromEvent(binary, w.gateway, v1[0]) },
		"structured": func() (*http.Request, error) { return cehttp.NewHTTPRequestFromEvent(structuredMode, w.gateway, v1[0]) },
		"batch":      func() (*http.Request, error) { return cehttp.NewHTTPRequestFromEvents(binary, w.gateway, v1) },
	} {
		t.Run(mode, func(t *testing.T) {
			w.sendSDK(shop, must(write())(t))
			got := parsed(t, w.publisher.take())
			require.Len(t, got, map[string]int{"binary": 1, "structured": 1, "batch": len(v1)}[mode])
			for i := range got {
				cetest.AssertEventEquals(t, cetest.ConvertEventExtensionsToString(t, v1[i]), cetest.ConvertEventExtensionsToString(t, got[i]))
			}
		})
	}
}

func (w *world) sendSDK(consumer string, req *http.Request) {
	w.t.Helper()
	body := must(io.ReadAll(req.Body))(w.t)
	var headers []string
	for name, values := range req.Header {
		headers = append(headers, http.CanonicalHeaderKey(name), values[0])
	}
	a := w.as(consumer, "POST", "/orders/events", body, headers...)
	require.Equal(w.t, http.StatusAccepted, a.status, "%s", a.body)
}
