package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// shore serves one stream, as whoever the query says.
type shore struct {
	*streams
	t       *testing.T
	app     *service.App
	store   *store.Store
	address string
	key     string // of con_acme
}

func newShore(t *testing.T, bounds StreamBounds, next feed, untended ...bool) *shore {
	t.Helper()
	s := &shore{t: t, app: service.New(zap.NewNop())}
	t.Cleanup(func() { require.NoError(t, s.app.Stop(10*time.Second)) })
	s.app.Bounds.Read, s.app.Bounds.Write = 100*time.Millisecond, 100*time.Millisecond // streams have their own
	var err error
	s.store, err = store.Open(store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t)})
	require.NoError(t, err)
	s.app.OnStop("redis", func(context.Context) error { return s.store.Close() })
	s.putConsumer("acme")
	s.putConsumer("other")
	key, _, err := s.store.CreateKey(t.Context(), "con_acme", time.Now())
	require.NoError(t, err)
	s.key = key.ID
	s.streams = newStreams(Options{Store: s.store, Metrics: prometheus.NewRegistry(), Now: time.Now, Streams: bounds})
	if len(untended) == 0 {
		s.app.Go("streams", s.run)
	}
	s.address, err = s.app.Listen("door", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := contract.Caller{Consumer: r.URL.Query().Get("consumer"), Resource: "orders", Action: "subscribe", Key: r.URL.Query().Get("key")}
		if r.URL.Query().Has("token") {
			caller.Until = time.Now().Add(200 * time.Millisecond)
		}
		ctx := context.WithValue(r.Context(), callerKey{}, caller)
		st, err := s.enter(ctx)
		if err != nil {
			var refused huma.StatusError
			require.ErrorAs(t, problemOf(ctx, err), &refused)
			w.WriteHeader(refused.GetStatus())
			return
		}
		s.serve(ctx, w, st, next)
	}))
	require.NoError(t, err)
	return s
}

func (s *shore) putConsumer(name string) {
	require.NoError(s.t, s.store.PutConsumer(s.t.Context(), contract.Consumer{
		ID: "con_" + name, Name: name, Grants: []contract.Grant{{Resource: "orders", Actions: []string{"subscribe"}}},
	}))
}

func (s *shore) open(query string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/?"+query, nil)
	require.NoError(s.t, err)
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// rest is what a stream says until its end.
func (s *shore) rest(res *http.Response) string {
	s.t.Helper()
	said, err := io.ReadAll(res.Body)
	require.NoError(s.t, err, "a stream has an end")
	return string(said)
}

func (s *shore) count(reason string) float64 {
	return testutil.ToFloat64(s.ended.WithLabelValues(reason))
}

func idle(ctx context.Context, _ *eventWriter) error { <-ctx.Done(); return nil }

// quick are bounds that a test can wait for.
var quick = StreamBounds{Consumer: 2, All: 3, Beat: 50 * time.Millisecond, Recheck: 20 * time.Millisecond, Unsure: 10 * time.Second}

func TestAnEventIsWrittenSoThatNoLineEndBreaksIt(t *testing.T) {
	for want, e := range map[string]sse{
		"data: \n\n":                                {},
		"id: 1-2\nevent: attempt\ndata: {}\n\n":     {ID: "1-2", Name: "attempt", Data: []byte("{}")},
		"data: a\ndata: id: 7\ndata: b\ndata: \n\n": {Data: []byte("a\r\nid: 7\rb\n")},
		"headers: {\"a\":\"b\"}\ndata: x\n\n":       {Data: []byte("x"), More: []sseField{{"headers", `{"a":"b"}`}}},
	} {
		require.Equal(t, want, string(e.appendTo(nil)))
	}
}

func TestAStreamOutlivesTheServersBoundsAndBeats(t *testing.T) {
	sent := make(chan struct{})
	s := newShore(t, quick, func(ctx context.Context, to *eventWriter) error {
		if err := to.Send(sse{Data: []byte("first")}, sse{Data: []byte("second")}); err != nil {
			return err
		}
		<-sent
		return to.Send(sse{Data: []byte("last")})
	})
	res := s.open("consumer=con_acme&key=" + s.key)
	require.Equal(t, mediaEvents, res.Header.Get("Content-Type"))
	require.Equal(t, "no", res.Header.Get("X-Accel-Buffering"))
	lines := bufio.NewScanner(res.Body)
	var said []string
	for beats := 0; beats < 8 && lines.Scan(); { // which takes longer than the server's bounds
		if said = append(said, lines.Text()); lines.Text() == ": beat" {
			beats++
		}
	}
	close(sent)
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	require.NoError(t, lines.Err())
	require.Equal(t, []string{": open", "", "data: first", "", "data: second", "", ": beat"}, said[:7])
	require.Equal(t, "data: last", said[len(said)-2])
	require.Equal(t, 1.0, s.count("done"))
	require.Equal(t, 0.0, testutil.ToFloat64(s.opened))
}

func TestAStreamEndsOnceItsCallerMayNotGoOn(t *testing.T) {
	for name, revoke := range map[string]func(*shore) error{
		"the key": func(s *shore) error { return s.store.DeleteKey(t.Context(), "con_acme", s.key) },
		"the grant": func(s *shore) error {
			_, err := s.store.ChangeConsumer(t.Context(), "con_acme", func(c *contract.Consumer) { c.Grants = nil })
			return err
		},
		"the consumer": func(s *shore) error { return s.store.DeleteConsumer(t.Context(), "con_acme") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newShore(t, quick, idle)
			res, others := s.open("consumer=con_acme&key="+s.key), s.open("consumer=con_other")
			require.NoError(t, revoke(s))
			require.Contains(t, s.rest(res), ": end: "+errRevoked.Error())
			require.Equal(t, 1.0, s.count("revoked"))
			require.Equal(t, http.StatusForbidden, s.open("consumer=con_acme&key="+s.key).StatusCode, "whatever the gateway still remembers")
			require.Equal(t, 1.0, testutil.ToFloat64(s.opened), "that of another goes on")
			require.NoError(t, others.Body.Close())
		})
	}
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	s := newShore(t, quick, idle)
	require.Contains(t, s.rest(s.open("consumer=con_acme&token")), errExpired.Error())
	require.Equal(t, 1.0, s.count("expired"))
}

func TestAStreamEndsWhenNobodyLooksAfterItsRights(t *testing.T) {
	bounds := quick
	bounds.Unsure = 200 * time.Millisecond
	s := newShore(t, bounds, idle, true)
	require.Contains(t, s.rest(s.open("consumer=con_acme")), errUnsure.Error())
	require.Equal(t, 1.0, s.count("unsure"))
}

func TestStreamsEndWhenTheServiceStops(t *testing.T) {
	s := newShore(t, quick, idle)
	res := s.open("consumer=con_acme")
	require.NoError(t, s.app.Stop(5*time.Second))
	require.Contains(t, s.rest(res), errStopping.Error())
	require.Equal(t, 1.0, s.count("stopping"))
}

func TestOnlySoManyStreamsAreOpen(t *testing.T) {
	s := newShore(t, quick, idle)
	first := s.open("consumer=con_acme")
	s.open("consumer=con_acme")
	require.Equal(t, http.StatusTooManyRequests, s.open("consumer=con_acme").StatusCode)
	require.Equal(t, http.StatusOK, s.open("consumer=con_other").StatusCode)
	require.Equal(t, http.StatusServiceUnavailable, s.open("consumer=con_other").StatusCode)
	require.NoError(t, first.Body.Close())
	require.Eventually(t, func() bool { return s.open("consumer=con_other").StatusCode == http.StatusOK }, 10*time.Second, 10*time.Millisecond,
		"who hung up leaves a place")
	require.Equal(t, 1.0, s.count("client"))
}

func TestAClientThatDoesNotReadLosesItsStream(t *testing.T) {
	bounds := quick
	bounds.Write = 50 * time.Millisecond
	failed := make(chan error, 1)
	s := newShore(t, bounds, func(ctx context.Context, to *eventWriter) error {
		for {
			if err := to.Send(sse{Data: make([]byte, 1<<20)}); err != nil {
				failed <- err
				return err
			}
		}
	})
	conn, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /?consumer=con_acme HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(t, err)
	var slow net.Error
	require.True(t, errors.As(<-failed, &slow) && slow.Timeout())
	require.Eventually(t, func() bool { return s.count("client") == 1 }, 10*time.Second, time.Millisecond)
}

func TestWhatGoesWrongInAStreamIsNotTold(t *testing.T) {
	s := newShore(t, quick, func(context.Context, *eventWriter) error { return errors.New("s3cr3t") })
	said := s.rest(s.open("consumer=con_acme"))
	require.True(t, strings.Contains(said, ": end: ") && !strings.Contains(said, "s3cr3t"), said)
}
