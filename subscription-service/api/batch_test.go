package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

const batched = "application/cloudevents-batch+json"

// batchOf is n events, with the ids e0, e1…
func batchOf(n int) string {
	events := make([]string, n)
	for i := range events {
		events[i] = fmt.Sprintf(`{"specversion":"1.0","id":"e%d","source":"/shop","type":"order.created","data":{"n": %d.00}}`, i, i)
	}
	return "[" + strings.Join(events, ",\n ") + "]"
}

func TestABatchIsPublishedInOneGo(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	body := `[` + oneEvent + `, {"specversion":"1.0","id":"e2","source":"/shop","type":"order.paid","datacontenttype":"text/plain","data":"a\u0000b"},
		{"specversion":"1.0","id":"e1","source":"/shop","type":"order.created","data_base64":"AP8="}]`
	a := w.as(shop, "POST", "/orders/events", body, "Content-Type", batched+"; charset=utf-8")
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	require.Equal(t, 1, w.publisher.calls())
	published := w.publisher.take()
	require.Len(t, published, 3, "the same source and id twice is the listener's to drop")
	for i, want := range []struct{ key, id, data string }{
		{"orders.order.created", "e1", `{"total": 1.50}`}, {"orders.order.paid", "e2", "a\x00b"}, {"orders.order.created", "e1", "\x00\xff"},
	} {
		m := published[i]
		require.Equal(t, []string{"test.events", want.key, want.data}, []string{m.Exchange, m.RoutingKey, string(m.Body)})
		e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
		require.NoError(t, err)
		require.Equal(t, want.id, e.ID())
	}
}

func TestAnEmptyBatchIsAccepted(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", " [ ] ", "Content-Type", batched).status)
	require.Zero(t, w.publisher.calls())
}

func TestABatchWithABadEventIsRefusedWholeAndNamesEach(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	body := `[` + oneEvent + `, 5, {"specversion":"1.0","id":7,"type":"t"}, {"id":"e","source":"/s","type":"t","Bad":1},
		{"specversion":"1.0","id":"e","source":"/s","type":"t","datacontenttype":"text/plain","data":{}},
		{"specversion":"1.0","id":"e","source":"/s","type":"` + strings.Repeat("t", 300) + `"}]`
	at := w.as(shop, "POST", "/orders/events", body, "Content-Type", batched).problem(t, http.StatusUnprocessableEntity)
	require.Empty(t, w.publisher.take())
	for place, says := range map[string]string{
		"[1]": "object", "[2].id": "string", "[2].source": "missing", "[3].specversion": "1.0", "[3].Bad": "a to z", "[4].data": "text/plain",
	} {
		require.Contains(t, at[place], says, place)
	}
	require.Len(t, at, 6, "%v", at)

	body = `[` + oneEvent + `,{"specversion":"1.0","id":"e","type":"t"},{"specversion":"1.0","id":"e","source":"/s","type":"` + strings.Repeat("t", 300) + `"}]`
	at = w.as(shop, "POST", "/orders/events", body, "Content-Type", batched).problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, at["[1].source"], "URI-reference")
	at = w.as(shop, "POST", "/orders/events", strings.Replace(body, `"id":"e",`, `"id":"e","source":"/s",`, 1), "Content-Type", batched).
		problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, at["[2].type"], "too long")
	require.Empty(t, w.publisher.take())
}

func TestWhatIsNoBatchIsRefused(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	for _, c := range []struct {
		name, body string
		status     int
	}{
		{"no JSON", `[{]`, 400},
		{"empty", ``, 400},
		{"not UTF-8", "[\"\xff\"]", 400},
		{"one event", oneEvent, 422},
		{"null", `null`, 422},
		{"two arrays", `[][]`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := w.as(shop, "POST", "/orders/events", c.body, "Content-Type", batched).problem(t, c.status)
			require.NotEmpty(t, at["body"])
			require.Empty(t, w.publisher.take())
		})
	}
}

func TestTheLimitsOfABatch(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	send := func(body string) answer { return w.as(shop, "POST", "/orders/events", body, "Content-Type", batched) }

	require.Equal(t, http.StatusAccepted, send(batchOf(1000)).status)
	require.Len(t, w.publisher.take(), 1000)
	at := send(batchOf(1001)).problem(t, http.StatusUnprocessableEntity)
	require.Contains(t, at["body"], "1000 events")

	large := batchOf(10)
	require.Equal(t, http.StatusAccepted, send(large+strings.Repeat(" ", 10<<20-len(large))).status)
	require.Len(t, w.publisher.take(), 10)
	send(large+strings.Repeat(" ", 10<<20-len(large)+1)).problem(t, http.StatusRequestEntityTooLarge)
	require.Empty(t, w.publisher.take())
}

func TestABatchWithoutBrokerCanBeSentAgain(t *testing.T) {
	w := newWorld(t)
	shop := w.consumer("shop", "orders")
	w.publisher.fail(rabbit.ErrNacked)
	w.as(shop, "POST", "/orders/events", batchOf(3), "Content-Type", batched).problem(t, http.StatusServiceUnavailable)
	w.publisher.fail(nil)
	require.Equal(t, http.StatusAccepted, w.as(shop, "POST", "/orders/events", batchOf(3), "Content-Type", batched).status)
	require.Len(t, w.publisher.take(), 3)
}

func TestTheDocumentKnowsBatches(t *testing.T) {
	w := newWorld(t)
	document := w.call("GET", w.admin+"/openapi.json", nil).json(t)
	content := document["paths"].(map[string]any)["/{resource}/events"].(map[string]any)["post"].(map[string]any)["requestBody"].(map[string]any)["content"].(map[string]any)
	require.Equal(t, 1000., content[batched].(map[string]any)["schema"].(map[string]any)["maxItems"])
}
