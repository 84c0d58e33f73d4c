package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// post is a gateway with one mailbox: it ends the command once everything was acknowledged and somebody asks for more.
type post struct {
	mu     sync.Mutex
	t      *testing.T
	wait   []string // ids
	body   string
	calls  []string
	end    context.CancelFunc
	create string
}

func (p *post) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	raw, _ := io.ReadAll(r.Body)
	call := r.Method + " " + r.URL.Path
	if len(p.calls) == 0 || p.calls[len(p.calls)-1] != call {
		p.calls = append(p.calls, call)
	}
	switch call {
	case "POST /orders/subscribe":
		p.create = string(raw)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"id":"sub_1","resource":"orders","mode":"pull","secret":"whsec_s"}`)
	case "GET /orders/subscribe/sub_1/stream":
		items := []map[string]any{}
		for _, id := range p.wait {
			items = append(items, map[string]any{"id": id, "delivery_id": "dlv_" + id, "headers": map[string]string{"webhook-id": "dlv_" + id, "content-type": "application/json"}, "body": p.body})
		}
		if len(items) == 0 {
			p.end()
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"items": items})
	case "POST /orders/subscribe/sub_1/stream/ack":
		var ack struct{ IDs []string }
		require.NoError(p.t, json.Unmarshal(raw, &ack))
		require.Equal(p.t, p.wait[:len(ack.IDs)], ack.IDs)
		p.wait = p.wait[len(ack.IDs):]
		fmt.Fprint(w, `{}`)
	case "DELETE /orders/subscribe/sub_1":
		w.WriteHeader(http.StatusNoContent)
	}
}

// listen runs the command until the mailbox is empty.
func listenTo(t *testing.T, p *post, args ...string) (out, errs string, code exit.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p.t, p.end = t, cancel
	gateway := httptest.NewServer(p)
	defer gateway.Close()
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	var stdout, stderr bytes.Buffer
	got := Main(ctx, System{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Environ: []string{"GATEWAY_URL=" + gateway.URL, "WEBHOOK_API_KEY=the-api-key"}, Dir: t.TempDir(), Now: time.Now}, append([]string{"listen", "orders"}, args...))
	return stdout.String(), stderr.String(), exit.Code(got)
}

func TestListenForwardsEachEventUntilItIsTakenAndLeavesNothingBehind(t *testing.T) {
	var got []string
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Header.Get("webhook-id")+" "+string(body))
		if len(got) == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer endpoint.Close()
	p := &post{wait: []string{"1", "2", "3"}, body: `{"type":"order.created","subject":"4711"}`}
	out, errs, code := listenTo(t, p, "--forward-to", endpoint.URL+"/hooks", "--type", "order.*", "--filter", "true")
	require.Equal(t, exit.OK, code, errs)
	require.Equal(t, []string{"dlv_1 " + p.body, "dlv_2 " + p.body, "dlv_2 " + p.body, "dlv_3 " + p.body}, got)
	require.Empty(t, p.wait)
	require.Equal(t, "DELETE /orders/subscribe/sub_1", p.calls[len(p.calls)-1])
	require.Equal(t, 4, strings.Count(out, "order.created 4711"), out)
	require.Contains(t, out, "503  dlv_2")
	require.Contains(t, out, "(attempt 2)")
	require.Contains(t, errs, "ended orders/sub_1")
	var asked map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.create), &asked))
	require.Equal(t, "pull", asked["mode"])
	require.Equal(t, "true", asked["filter"])
	require.NotEmpty(t, asked["description"], "which makes it another one than yesterday's")
}

func TestListenPrintsAndKeepsWhatItDidNotMake(t *testing.T) {
	p := &post{wait: []string{"1"}, body: "{\"n\":1,\"s\":\"\x1b\"}"}
	out, errs, code := listenTo(t, p, "--id", "orders/sub_1")
	require.Equal(t, exit.OK, code, errs)
	require.Contains(t, out, "dlv_1\n{\"n\":1,\"s\":\"?\"}\n")
	require.Equal(t, []string{"GET /orders/subscribe/sub_1/stream", "POST /orders/subscribe/sub_1/stream/ack", "GET /orders/subscribe/sub_1/stream"}, p.calls)
	p = &post{wait: []string{"1"}, body: "{}"}
	out, errs, code = listenTo(t, p, "--keep", "-o", "json")
	require.Equal(t, exit.OK, code, errs)
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &line), out)
	require.Equal(t, "dlv_1", line["delivery_id"])
	require.Equal(t, map[string]any{"webhook-id": "dlv_1", "content-type": "application/json"}, line["headers"])
	require.NotContains(t, p.calls, "DELETE /orders/subscribe/sub_1")
	_, _, code = listenTo(t, &post{}, "--forward-to", "localhost:3000")
	require.Equal(t, exit.Usage, code)
}
