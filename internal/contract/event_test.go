package contract

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"
)

const structuredType = "application/cloudevents+json"

// headers are the needed attributes in binary mode, and more as name, value…
func headers(prefix string, more ...any) map[string]any {
	h := map[string]any{prefix + "specversion": "1.0", prefix + "id": "e1", prefix + "source": "/shop", prefix + "type": "order.created"}
	for i := 0; i < len(more); i += 2 {
		name := prefix + more[i].(string)
		if more[i+1] == nil {
			delete(h, name)
		} else {
			h[name] = more[i+1]
		}
	}
	return h
}

func TestParseEventBinary(t *testing.T) {
	for _, prefix := range []string{"cloudEvents_", "cloudEvents:"} {
		t.Run(prefix, func(t *testing.T) {
			body := []byte("{\"total\":  1.50,\n \"ü\": \"\\u00fc\"}")
			e, err := ParseEvent("application/json; charset=utf-8", headers(prefix, "time", "2026-01-02T03:04:05.123456789Z", "subject", "s",
				"dataschema", "https://schema.example/1", "num", int32(5), "yes", true, "text", "x", "wide", int64(7), "small", int8(3)), body)
			require.NoError(t, err)
			require.Equal(t, "e1", e.ID())
			require.Equal(t, "/shop", e.Source())
			require.Equal(t, "order.created", e.Type())
			require.Equal(t, "s", e.Subject())
			require.Equal(t, "https://schema.example/1", e.DataSchema())
			require.Equal(t, 123456789, e.Time().Nanosecond())
			require.Equal(t, body, e.DataEncoded, "byte for byte")
			require.False(t, e.DataBase64)
			require.Equal(t, map[string]any{"num": int32(5), "yes": true, "text": "x", "wide": "7", "small": int32(3)}, e.Extensions())
		})
	}
}

func TestParseEventTime(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) // AMQP's own timestamp type
	e, err := ParseEvent("", headers("cloudEvents_", "time", at), nil)
	require.NoError(t, err)
	require.True(t, at.Equal(e.Time()))
}

func TestParseEventData(t *testing.T) {
	cases := map[string]struct {
		contentType string
		body        string
		base64      bool
	}{
		"none":                {"application/json", "", false},
		"JSON":                {"application/json", `{"a":1}`, false},
		"suffix":              {"application/vnd.shop+json", `[1]`, false},
		"no type, JSON":       {"", `{"a":1}`, false},
		"no type, bytes":      {"", "\x00\x01", true},
		"text":                {"text/plain", "grüße", false},
		"text that is not":    {"text/plain", "\xff", true},
		"bytes":               {"application/octet-stream", "\x00\xff", true},
		"bytes that are text": {"application/octet-stream", "hello", true},
		"XML":                 {"application/xml", "<a/>", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			e, err := ParseEvent(c.contentType, headers("cloudEvents_"), []byte(c.body))
			require.NoError(t, err)
			require.Equal(t, c.body, string(e.DataEncoded))
			require.Equal(t, c.base64, e.DataBase64)
			raw, err := WriteStructured(e)
			require.NoError(t, err)
			back, err := ParseStructured(raw)
			require.NoError(t, err, "%s", raw)
			require.Equal(t, c.body, string(back.DataEncoded), "through the JSON format and back: %s", raw)
		})
	}
}

func TestParseStructured(t *testing.T) {
	e, err := ParseEvent(structuredType+"; charset=utf-8", nil, []byte(`{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created",
		"time":"2026-01-02T03:04:05Z","num":5,"yes":true,"text":"x","data":{"total":  1.50, "ü":"\u00fc"}}`))
	require.NoError(t, err)
	require.Equal(t, `{"total":  1.50, "ü":"\u00fc"}`, string(e.DataEncoded), "byte for byte")
	require.Equal(t, map[string]any{"num": int32(5), "yes": true, "text": "x"}, e.Extensions())

	raw := []byte{0, 1, 0xff}
	e, err = ParseStructured([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","datacontenttype":"image/png","data_base64":"` + base64.StdEncoding.EncodeToString(raw) + `"}`))
	require.NoError(t, err)
	require.Equal(t, raw, e.DataEncoded)
	require.True(t, e.DataBase64)

	e, err = ParseStructured([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","datacontenttype":"text/plain","data":"hello \"you\""}`))
	require.NoError(t, err)
	require.Equal(t, `hello "you"`, string(e.DataEncoded))
}

func TestRefusedEventsNameTheAttribute(t *testing.T) {
	structured := func(fields string) []byte { return []byte(`{` + fields + `}`) }
	const good = `"specversion":"1.0","id":"e1","source":"/s","type":"t"`
	cases := map[string]struct {
		contentType string
		headers     map[string]any
		body        []byte
		names       string
	}{
		"nothing":               {"", nil, nil, "cloudEvents_id"},
		"plain JSON":            {"application/json", nil, []byte(`{}`), structuredType},
		"content type":          {"a/b/c", headers("cloudEvents_"), nil, "content-type"},
		"batch":                 {"application/cloudevents-batch+json", nil, []byte(`[]`), "batch"},
		"avro":                  {"application/cloudevents+avro", nil, nil, "cloudevents+avro"},
		"binary id":             {"", headers("cloudEvents_", "id", nil), nil, "id"},
		"binary empty id":       {"", headers("cloudEvents_", "id", ""), nil, "id"},
		"binary source":         {"", headers("cloudEvents_", "source", nil), nil, "source"},
		"binary type":           {"", headers("cloudEvents_", "type", nil), nil, "type"},
		"binary specversion":    {"", headers("cloudEvents_", "specversion", nil), nil, "specversion"},
		"binary specversion .3": {"", headers("cloudEvents_", "specversion", "0.3"), nil, "specversion"},
		"binary time":           {"", headers("cloudEvents_", "time", "noon"), nil, "time"},
		"binary extension name": {"", headers("cloudEvents_", "my-ext", "x"), nil, "my-ext"},
		"binary table":          {"", headers("cloudEvents_", "ext", map[string]any{}), nil, "ext"},
		"binary data":           {"application/json", headers("cloudEvents_"), []byte(`{`), "data"},
		"no JSON":               {structuredType, nil, []byte(`{"id"`), "JSON"},
		"empty":                 {structuredType, nil, nil, "JSON"},
		"id":                    {structuredType, nil, structured(`"specversion":"1.0","source":"/s","type":"t"`), "id"},
		"source":                {structuredType, nil, structured(`"specversion":"1.0","id":"e1","type":"t"`), "source"},
		"type":                  {structuredType, nil, structured(`"specversion":"1.0","id":"e1","source":"/s"`), "type"},
		"specversion":           {structuredType, nil, structured(`"id":"e1","source":"/s","type":"t"`), "specversion"},
		"specversion 0.3":       {structuredType, nil, structured(`"specversion":"0.3","id":"e1","source":"/s","type":"t"`), "specversion"},
		"time":                  {structuredType, nil, structured(good + `,"time":"noon"`), "time"},
		"data_base64":           {structuredType, nil, structured(good + `,"data_base64":"*"`), "base64"},
		"data_base64 a number":  {structuredType, nil, structured(good + `,"data_base64":5`), "base64"},
		"extension an object":   {structuredType, nil, structured(good + `,"ext":{}`), "ext"},
		"an empty name":         {structuredType, nil, structured(good + `,"":1,"data":{"a":1}`), "empty name"},
		"an array":              {structuredType, nil, []byte(`[]`), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ParseEvent(c.contentType, c.headers, c.body)
			require.ErrorIs(t, err, ErrEvent)
			require.Contains(t, err.Error(), c.names)
			require.NotContains(t, err.Error(), "\n")
			require.Less(t, len(err.Error()), 1000)
		})
	}
}

func TestWhiteSpaceIsPartOfAnAttribute(t *testing.T) {
	e, err := ParseEvent("", headers("cloudEvents_", "id", " e1", "type", "t ", "subject", " "+"s "), nil)
	require.NoError(t, err)
	require.Equal(t, []string{" e1", "t ", " s "}, []string{e.ID(), e.Type(), e.Subject()})
}

// Two spellings of one attribute have no order, so the outcome must not depend on one.
func TestAnAttributeWithBothPrefixes(t *testing.T) {
	h := headers("cloudEvents_")
	h["cloudEvents:id"] = "another"
	for range 50 {
		_, err := ParseEvent("", h, nil)
		require.ErrorIs(t, err, ErrEvent)
		require.ErrorContains(t, err, "id")
	}
	h["cloudEvents:id"] = "e1"
	_, err := ParseEvent("", h, nil)
	require.NoError(t, err)
}

func TestEventHeadersRoundTrip(t *testing.T) {
	e, err := ParseEvent("text/plain", headers("cloudEvents:", "time", "2026-01-02T03:04:05.5+02:00", "subject", "s", "num", int32(-5), "yes", false, "text", "x"), []byte("d"))
	require.NoError(t, err)
	h := EventHeaders(e)
	require.Equal(t, "2026-01-02T01:04:05.5Z", h["cloudEvents_time"])
	back, err := ParseEvent(e.DataContentType(), h, e.DataEncoded)
	require.NoError(t, err)
	require.Equal(t, e.String(), back.String())
	require.Equal(t, map[string]any{"num": int32(-5), "yes": false, "text": "x"}, back.Extensions())
}

func FuzzParseEvent(f *testing.F) {
	f.Add("application/json", "id", "e1", "ext", "x", int64(5), []byte(`{"a":1}`))
	f.Add("", "specversion", "1.0", "time", "2026-01-02T03:04:05Z", int64(0), []byte{0xff})
	f.Add(structuredType, "", "", "", "", int64(0), []byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","data_base64":5}`))
	f.Add("", "a", "0", "b", "0", int64(1), []byte(" 0\n"))
	f.Add("text/plain", "datacontenttype", "application/json", "data", "", int64(-1), []byte(`x`))
	f.Fuzz(func(t *testing.T, contentType, name, value, name2, value2 string, number int64, body []byte) {
		h := headers("cloudEvents_", "number", number)
		h["cloudEvents_"+name], h["cloudEvents:"+name2] = value, value2
		e, err := ParseEvent(contentType, h, body)
		acceptable(t, e, err)
	})
}

func FuzzParseStructured(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","data":{"a":1},"ext":5}`))
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","data_base64":"AA=="}`))
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","data_base64":""}`))
	f.Add([]byte(`{"specversion":"1.0","id":"e1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x"}`))
	f.Add([]byte(`{"specversion":"1.0","id":1,"source":null,"type":[],"time":"x","data_base64":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseStructured(body)
		acceptable(t, e, err)
	})
}

func FuzzParseBatch(f *testing.F) {
	const one = `{"specversion":"1.0","id":"e1","source":"/s","type":"t","data":{"a": 1.0}}`
	f.Add([]byte(`[` + one + `, ` + one + `]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{},null,1,"x",[` + one + `]]`))
	f.Add([]byte(`{"0":` + one + `}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := ParseBatch(body)
		if err != nil {
			acceptable(t, nil, err)
			return
		}
		for _, e := range events {
			acceptable(t, e, nil)
		}
	})
}

// acceptable: an error that says it is no event, or an event that survives the way that every event takes.
func acceptable(t *testing.T, e *event.Event, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, ErrEvent) {
			t.Fatalf("%v is not ErrEvent", err)
		}
		if strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("%q has a line break", err)
		}
		return
	}
	if e.ID() == "" || e.Source() == "" || e.Type() == "" || e.SpecVersion() != "1.0" {
		t.Fatalf("an event without what it needs: %v", e)
	}
	roundTrip(t, Command{Delivery: "dlv_1", Subscription: "sub_1", Resource: "orders", Attempt: 1, Created: time.UnixMilli(1).UTC(), Event: e})
	requireJSONCarries(t, e)
}

// requireJSONCarries: what WriteStructured writes is read again as the same event.
func requireJSONCarries(t *testing.T, e *event.Event) {
	t.Helper()
	raw, err := WriteStructured(e)
	if err != nil {
		t.Fatalf("an event that JSON can't carry: %v: %s", err, e)
	}
	back, err := ParseStructured(raw)
	if err != nil {
		t.Fatalf("what WriteStructured wrote can't be read: %v\n%s", err, raw)
	}
	sent := *e
	if JSONData(e) && !e.DataBase64 { // around a JSON value white space belongs to nobody
		sent.DataEncoded = bytes.Trim(e.DataEncoded, " \t\r\n")
	}
	if got, want := describe(Command{Event: back}), describe(Command{Event: &sent}); !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

func roundTrip(t *testing.T, c Command) {
	t.Helper()
	contentType, h, body := c.Encode()
	back, err := DecodeCommand(contentType, h, body)
	if err != nil {
		t.Fatalf("what Encode wrote can't be read: %v\n%v", err, h)
	}
	if got, want := describe(back), describe(c); !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
}

// describe is what must survive of a command.
func describe(c Command) []any {
	e := c.Event
	return []any{c.Delivery, c.Subscription, c.Resource, c.Attempt, c.Created, e.ID(), e.Source(), e.Type(), e.Subject(), e.DataSchema(),
		e.Time().UTC().Format(time.RFC3339Nano), e.DataContentType(), string(e.DataEncoded), e.DataBase64, fmt.Sprint(e.Extensions())}
}
