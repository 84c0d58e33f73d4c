package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

const (
	structured = "application/cloudevents+json"
	oneEvent   = `{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created","data":{"total": 1.50}}`
)

func TestPublishStructured(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	a := w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured+"; charset=utf-8")
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	published := w.publisher.take()
	require.Len(t, published, 1)
	m := published[0]
	require.Equal(t, "test.events", m.Exchange)
	require.Equal(t, "orders.order.created", m.RoutingKey)
	require.Equal(t, `{"total": 1.50}`, string(m.Body), "the data untouched")
	e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
	require.NoError(t, err)
	require.Equal(t, []string{"e1", "/shop", "order.created"}, []string{e.ID(), e.Source(), e.Type()})
}

func TestPublishBinary(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	data := []byte{0, 1, 2, 0xff, '\n'}
	attributes := []string{"ce-specversion", "1.0", "ce-id", "e1", "Ce-Source", "/shop", "CE-Type", "order.created", "ce-time", "2026-01-02T03:04:05Z"}
	a := w.as(shop, "POST", "/orders/events", data, append(attributes, "Content-Type", "application/octet-stream", "ce-subject", "100%25 Z%C3%BCrich", "ce-note", `"say \"hi\""`)...)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	m := w.publisher.take()[0]
	require.Equal(t, data, m.Body)
	require.Equal(t, "application/octet-stream", m.ContentType)
	e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
	require.NoError(t, err)
	require.Equal(t, "100% Zürich", e.Subject())
	require.Equal(t, `say "hi"`, e.Extensions()["note"])
	require.Equal(t, "2026-01-02T03:04:05Z", e.Time().Format("2006-01-02T15:04:05Z07:00"))

	a = w.call("POST", w.gateway+"/gateway/orders/events", nil, append(attributes, contract.HeaderStatement, w.statement(shop, "orders", "publish"))...)
	require.Equal(t, http.StatusAccepted, a.status, "an event may have no data: %s", a.body)
	require.Empty(t, w.publisher.take()[0].Body)
}

func TestBadEvents(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	change := func(field string, value any) string {
		e := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(oneEvent), &e))
		if value == nil {
			delete(e, field)
		} else {
			e[field] = value
		}
		return string(must(json.Marshal(e))(t))
	}
	binary := []string{"ce-specversion", "1.0", "ce-id", "e1", "ce-source", "/shop", "ce-type", "order.created"}
	without := func(name string, more ...string) []string {
		kept := append([]string{}, more...)
		for i := 0; i < len(binary); i += 2 {
			if binary[i] != name {
				kept = append(kept, binary[i], binary[i+1])
			}
		}
		return kept
	}
	cases := []struct {
		name    string
		body    string
		headers []string
		status  int
		says    string
	}{
		{"no JSON", `{"specversion"`, []string{"Content-Type", structured}, 400, "JSON"},
		{"empty", ``, []string{"Content-Type", structured}, 400, "JSON"},
		{"no id", change("id", nil), []string{"Content-Type", structured}, 422, "id"},
		{"empty id", change("id", ""), []string{"Content-Type", structured}, 422, "id"},
		{"no source", change("source", nil), []string{"Content-Type", structured}, 422, "source"},
		{"no type", change("type", nil), []string{"Content-Type", structured}, 422, "type"},
		{"no specversion", change("specversion", nil), []string{"Content-Type", structured}, 422, "specversion"},
		{"specversion 0.3", change("specversion", "0.3"), []string{"Content-Type", structured}, 422, "specversion"},
		{"specversion 2", change("specversion", "2.0"), []string{"Content-Type", structured}, 422, "specversion"},
		{"time", change("time", "yesterday"), []string{"Content-Type", structured}, 422, "time"},
		{"data_base64", change("data_base64", 5), []string{"Content-Type", structured}, 422, "data"},
		{"an array", `[` + oneEvent + `]`, []string{"Content-Type", structured}, 422, ""},
		{"long type", change("type", strings.Repeat("a", 300)), []string{"Content-Type", structured}, 422, "type"},
		{"a batch of avro", `x`, []string{"Content-Type", "application/cloudevents-batch+avro"}, 415, batched},
		{"avro", `x`, []string{"Content-Type", "application/cloudevents+avro"}, 415, structured},
		{"plain JSON", oneEvent, []string{"Content-Type", "application/json"}, 415, "ce-id"},
		{"form", `a=b`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "ce-id"},
		{"unreadable type", oneEvent, []string{"Content-Type", "x/y/z;;"}, 415, "content-type"},
		{"binary without id", `{}`, without("ce-id"), 422, "id"},
		{"binary without specversion", `{}`, without("ce-specversion"), 422, "specversion"},
		{"binary specversion", `{}`, without("ce-specversion", "ce-specversion", "0.3"), 422, "specversion"},
		{"binary time", `{}`, append([]string{"ce-time", "noon"}, binary...), 422, "time"},
		{"binary twice", `{}`, append([]string{"ce-id", "e2"}, binary...), 422, "ce-id"},
		{"binary percent", `{}`, append([]string{"ce-subject", "100%"}, binary...), 422, "ce-subject"},
		{"binary extension", `{}`, append([]string{"ce-my_ext", "x"}, binary...), 422, "my_ext"},
		{"binary data", `{`, binary, 422, "data"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := w.as(shop, "POST", "/orders/events", c.body, c.headers...)
			a.problem(t, c.status)
			require.Contains(t, string(a.body), c.says)
			require.Empty(t, w.publisher.take())
		})
	}
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured).status)
}

func TestEventsLimit(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	headers := []string{"Content-Type", "application/octet-stream", "ce-specversion", "1.0", "ce-id", "e1", "ce-source", "/shop", "ce-type", "order.created"}
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", bytes.Repeat([]byte{7}, 10<<20), headers...).status)
	require.Len(t, w.publisher.take()[0].Body, 10<<20)
	w.as(shop, "POST", "/orders/events", bytes.Repeat([]byte{7}, 10<<20+1), headers...).problem(t, http.StatusRequestEntityTooLarge)
	require.Empty(t, w.publisher.take())
}

func TestAttributesThatNoBrokerTakesAreRefused(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	long := `{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created","subject":"` + strings.Repeat("s", 100<<10) + `"}`
	at := w.as(shop, "POST", "/orders/events", long, "Content-Type", structured).problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, at["body.attributes"], "96 KiB")
	at = w.as(shop, "POST", "/orders/events", "["+oneEvent+","+long+"]", "Content-Type", batched).problem(t, http.StatusUnprocessableEntity)
	require.Len(t, at, 1)
	require.Contains(t, at["[1].attributes"], "96 KiB")
	require.Empty(t, w.publisher.take())
}

func TestAPanicIsABare500(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	w.publisher.panics.Store(true)
	a := w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured, "X-Request-Id", "the-request")
	require.Empty(t, a.problem(t, http.StatusInternalServerError))
	require.Contains(t, string(a.body), "the-request")
	require.NotContains(t, string(a.body), "s3cr3t")
	w.publisher.panics.Store(false)
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured).status)
}

func TestEventsWithoutBroker(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	for _, err := range []error{rabbit.ErrUnavailable, rabbit.ErrNacked, &rabbit.ReturnedError{}, errors.New("amqp://user:s3cr3tpw@host/")} {
		w.publisher.fail(fmt.Errorf("publishing: %w", err))
		a := w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured)
		a.problem(t, http.StatusServiceUnavailable)
		require.Contains(t, string(a.body), "broker")
		require.NotContains(t, string(a.body), "s3cr3tpw")
	}
	w.publisher.fail(nil)
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", oneEvent, "Content-Type", structured).status)
	require.Equal(t, http.StatusCreated, w.as(shop, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).status)
}
