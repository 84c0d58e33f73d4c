package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// How the data goes on from here into a callback is a test of callback-service.
func TestDataIsPublishedByteForByteFromEachHTTPMode(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	binary := []string{"ce-specversion", "1.0", "ce-id", "e1", "ce-source", "/data", "ce-type", "order.created"}
	for _, c := range testkit.DataCases() {
		one := c.Event("e1", "order.created")
		for mode, send := range map[string]func() answer{
			"structured": func() answer { return w.as(shop, "POST", "/orders/events", one, "Content-Type", structured) },
			"batch":      func() answer { return w.as(shop, "POST", "/orders/events", "[ "+one+"\n]", "Content-Type", batched) },
			"binary": func() answer {
				return w.as(shop, "POST", "/orders/events", c.Data, append(binary, "Content-Type", c.ContentType)...)
			},
		} {
			t.Run(c.Name+"/"+mode, func(t *testing.T) {
				a := send()
				require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
				m := w.publisher.take()[0]
				e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
				require.NoError(t, err)
				require.Equal(t, []string{"e1", "/data", "order.created", c.ContentType, c.Data},
					[]string{e.ID(), e.Source(), e.Type(), e.DataContentType(), string(e.DataEncoded)})
				want := rabbit.EventMessage(e)
				at, told := m.Published(time.Now())
				require.True(t, told, "when it was published")
				require.WithinDuration(t, time.Now(), at, time.Minute)
				delete(m.Headers, rabbit.HeaderPublished)
				require.Equal(t, []any{want.ContentType, want.Headers, string(want.Body)}, []any{m.ContentType, m.Headers, string(m.Body)})
			})
		}
	}
}
