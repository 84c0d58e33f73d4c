package contract

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file that is part of the contract: what is in it may be in a queue while a service is replaced.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func command(t *testing.T) Command {
	t.Helper()
	e, err := ParseEvent("application/json", headers("cloudEvents_", "time", "2026-01-02T03:04:05.678Z", "subject", "order 7", "num", int32(5), "yes", true),
		[]byte("{\"total\":  1.50}"))
	require.NoError(t, err)
	return Command{Delivery: DeliveryID("/shop", "e1", "sub_1"), Subscription: "sub_1", Resource: "orders", Attempt: 3,
		Created: time.Date(2026, 1, 2, 3, 4, 6, 7e6, time.UTC), Event: e}
}

func TestCommandGolden(t *testing.T) {
	c := command(t)
	contentType, h, body := c.Encode()
	raw, err := json.MarshalIndent(map[string]any{"content_type": contentType, "headers": h, "body": string(body)}, "", "  ")
	require.NoError(t, err)
	golden(t, "command.json", append(raw, '\n'))

	// An older service's command, as it comes from the broker.
	stored, err := os.ReadFile(filepath.Join("testdata", "command.json"))
	require.NoError(t, err)
	var wire struct {
		ContentType string         `json:"content_type"`
		Headers     map[string]any `json:"headers"`
		Body        string         `json:"body"`
	}
	require.NoError(t, json.Unmarshal(stored, &wire))
	for name, value := range wire.Headers {
		if n, ok := value.(float64); ok { // JSON has one kind of number, AMQP many
			wire.Headers[name] = int64(n)
		}
	}
	wire.Headers["cloudEvents_num"] = int32(5)
	back, err := DecodeCommand(wire.ContentType, wire.Headers, []byte(wire.Body))
	require.NoError(t, err)
	require.Equal(t, describe(c), describe(back))
}

func TestCommandRoundTrip(t *testing.T) {
	c := command(t)
	roundTrip(t, c)
	base64 := c
	e := c.Event.Clone()
	e.DataBase64 = true
	base64.Event = &e
	roundTrip(t, base64)
	empty, err := ParseEvent("", headers("cloudEvents_"), nil)
	require.NoError(t, err)
	c.Event = empty
	roundTrip(t, c)
}

func TestRefusedCommands(t *testing.T) {
	change := func(name string, value any) map[string]any {
		_, h, _ := command(t).Encode()
		if value == nil {
			delete(h, name)
		} else {
			h[name] = value
		}
		return h
	}
	for name, h := range map[string]map[string]any{
		"nothing":              nil,
		"no delivery":          change("x-webhook-delivery", nil),
		"delivery a number":    change("x-webhook-delivery", int64(5)),
		"no subscription":      change("x-webhook-subscription", nil),
		"no resource":          change("x-webhook-resource", nil),
		"no attempt":           change("x-webhook-attempt", nil),
		"attempt 0":            change("x-webhook-attempt", int64(0)),
		"attempt negative":     change("x-webhook-attempt", int64(-1)),
		"attempt huge":         change("x-webhook-attempt", int64(1)<<40),
		"attempt a text":       change("x-webhook-attempt", "1"),
		"no event id":          change("cloudEvents_id", nil),
		"another specversion":  change("cloudEvents_specversion", "0.3"),
		"an impossible header": change("cloudEvents_ext", map[string]any{}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeCommand("application/json", h, []byte(`{}`))
			require.ErrorIs(t, err, ErrCommand)
		})
	}
	_, err := DecodeCommand("application/json", change("", nil), []byte(`{`))
	require.ErrorIs(t, err, ErrCommand)
}

func FuzzDecodeCommand(f *testing.F) {
	f.Add("application/json", "x-webhook-attempt", "1", int64(1), int64(1700000000000), true, []byte(`{}`))
	f.Add("", "cloudEvents_time", "x", int64(-1), int64(-1), false, []byte{0xff})
	f.Fuzz(func(t *testing.T, contentType, name, value string, attempt, created int64, base64 bool, body []byte) {
		h := headers("cloudEvents_")
		h["x-webhook-delivery"], h["x-webhook-subscription"], h["x-webhook-resource"] = "dlv_1", "sub_1", "orders"
		h["x-webhook-attempt"], h["x-webhook-created"], h["x-webhook-base64"] = attempt, created, base64
		h[name] = value
		c, err := DecodeCommand(contentType, h, body)
		switch {
		case err == nil:
			roundTrip(t, c)
		case !errors.Is(err, ErrCommand):
			t.Fatalf("%v is not ErrCommand", err)
		}
	})
}
