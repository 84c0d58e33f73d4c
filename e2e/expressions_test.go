package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

const (
	largeOrders = `data.total > 100.0`
	idAndTotal  = `{"id": data.id, "total": data.total}`
)

func TestOnlyWhatTheFilterLetsThroughArrivesTransformed(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	_, secret := s.subscribe(t, r.URL, map[string]any{"format": "data", "filter": largeOrders, "transform": idAndTotal})
	event := func(id, data string) world.Event {
		return world.Event{Resource: s.resource, ID: id, Type: "order.created", Data: []byte(data)}
	}
	require.NoError(t, s.producer.PublishEvents(ctx(t),
		event("small", `{"id":"small","total":12.50}`), event("large", `{"id":"large","total":250.0,"customer":"Zoë"}`), event("without", `{"id":"without"}`)))
	require.NoError(t, s.producer.PublishEvents(ctx(t), event("last", `{"total":100.5,"id":"last"}`)))
	got, err := r.WaitFor(ctx(t), 2)
	require.NoError(t, err)
	var bodies []string
	for _, c := range got {
		require.NoError(t, c.Verify(secret))
		require.Equal(t, "application/json", c.Header.Get("Content-Type"))
		bodies = append(bodies, string(c.Body))
	}
	require.ElementsMatch(t, []string{`{"id":"large","total":250}`, `{"id":"last","total":100.5}`}, bodies)
}

func TestAChangedFilterIsTheOneThatCounts(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, map[string]any{"format": "data", "filter": `data.id == "none"`})
	s.publish(t, "before")
	_, err := s.consumer.Want(ctx(t), http.StatusOK, "PATCH", s.path()+"/"+id, map[string]any{"filter": `data.id == "after"`})
	require.NoError(t, err)
	s.publish(t, "other", "after")
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"after"}`, string(got[0].Body))
}

func TestATransformThatFailsGivesTheDeliveryUpAndSaysWhy(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, map[string]any{"format": "data", "transform": idAndTotal})
	s.publish(t, "a") // has no total
	eventually(t, "the delivery fails", func() bool {
		listed, err := s.consumer.Want(ctx(t), http.StatusOK, "GET", s.path()+"/"+id+"/deliveries?status=failed", nil)
		require.NoError(t, err)
		var failed struct {
			Items []struct{ Reason string }
		}
		require.NoError(t, listed.Decode(&failed))
		if len(failed.Items) == 0 {
			return false
		}
		require.Contains(t, failed.Items[0].Reason, "no such key: total")
		return true
	})
	require.Empty(t, r.Callbacks())
}

func TestABadExpressionIsRefusedThroughTheGateway(t *testing.T) {
	s := setScene(t)
	for field, at := range map[string]string{"filter": "line 1, column 12", "transform": "line 1, column 12"} {
		refused, err := s.consumer.Want(ctx(t), http.StatusUnprocessableEntity, "POST", s.path(),
			map[string]any{"callback_url": "http://127.0.0.1:9/hooks", "format": "data", field: `data.total nonsense`})
		require.NoError(t, err)
		require.Contains(t, string(refused.Body), "body."+field)
		require.Contains(t, string(refused.Body), at)
	}
}

func TestThePreviewIsWhatArrives(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, secret := s.subscribe(t, r.URL, map[string]any{"format": "data", "filter": largeOrders, "transform": idAndTotal, "auth": map[string]string{"type": "bearer", "token": "t0ken"}})
	const data = `{"id":"a","total":250.0}`
	shown, err := s.consumer.Want(ctx(t), http.StatusOK, "POST", s.path()+"/preview",
		`{"id":"`+id+`","event":{"specversion":"1.0","id":"a","source":"/e2e","type":"order.created","data":`+data+`}}`)
	require.NoError(t, err)
	require.NotContains(t, string(shown.Body), "t0ken")
	require.NotContains(t, string(shown.Body), secret)
	var preview struct {
		Wanted  bool
		Request struct {
			URL, Body string
			Headers   map[string]string
		}
	}
	require.NoError(t, shown.Decode(&preview))
	require.True(t, preview.Wanted)

	require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: "a", Type: "order.created", Data: []byte(data)}))
	got, err := r.WaitFor(ctx(t), 1)
	require.NoError(t, err)
	require.Equal(t, preview.Request.Body, string(got[0].Body))
	require.Equal(t, r.URL, preview.Request.URL)
	header := http.Header{}
	for name, value := range preview.Request.Headers {
		header.Set(name, value)
	}
	require.NoError(t, world.Callback{Header: header, Body: []byte(preview.Request.Body)}.Verify(secret))
	require.Equal(t, got[0].ID(), header.Get("Webhook-Id"), "a preview of an event names its delivery")
}
