package extplugin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6"
	a6err "github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin/fakerunner"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type source map[string]string

func (s source) Var(name string) (string, bool) { v, ok := s[name]; return v, ok }

func (s source) Body() ([]byte, error) {
	if body, ok := s["body"]; ok {
		return []byte(body), nil
	}
	return nil, errors.New("no body")
}

// socket is a path short enough for a unix socket.
func socket(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "extplugin-")
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func start(tb testing.TB, handle func(*fakerunner.Call) fakerunner.Answer) (*Client, *fakerunner.Runner) {
	tb.Helper()
	path := socket(tb)
	r, err := fakerunner.Listen(path, handle)
	require.NoError(tb, err)
	c := NewClient(path, zaptest.NewLogger(tb))
	tb.Cleanup(func() { c.Close(); r.Close() })
	return c, r
}

func testConf() *Conf {
	return NewConf("route#a#1", []Entry{{"webhook-subscribe", "{}"}, {"webhook-callback", "{}"}})
}

func request() *Request {
	return &Request{
		Method: A6.MethodPOST, Path: "/orders/subscribe", SrcIP: []byte{127, 0, 0, 1}, Host: "gw:9080",
		Args:   []route.Arg{{Name: "a", Value: "1", HasValue: true}, {Name: "flag"}},
		Header: http.Header{"X-Team": {"one", "two"}, "X_consumer_id": {"me"}},
		Source: source{"real_request_uri": "/orders/subscribe?a=1&flag", "empty": ""},
	}
}

func nothing(*fakerunner.Call) fakerunner.Answer { return fakerunner.Answer{} }

func TestCallTellsThePluginAll(t *testing.T) {
	var got *fakerunner.Call
	c, r := start(t, func(call *fakerunner.Call) fakerunner.Answer { got = call; return fakerunner.Answer{} })
	var res Result
	require.NoError(t, c.Call(context.Background(), testConf(), request(), &res))
	assert.Equal(t, "POST", got.Method)
	assert.Equal(t, "/orders/subscribe", got.Path)
	assert.Equal(t, []byte{127, 0, 0, 1}, got.SrcIP)
	assert.Equal(t, []fakerunner.Pair{{Name: "a", Value: "1", Set: true}, {Name: "flag"}}, got.Args)
	assert.Equal(t, []string{"one", "two"}, got.Header("x-team"))
	assert.Equal(t, []string{"me"}, got.Header("x_consumer_id"))
	assert.Equal(t, []string{"gw:9080"}, got.Header("host"))
	assert.Equal(t, []string{"route#a#1 webhook-subscribe={} webhook-callback={}"}, r.Prepared())
	assert.Equal(t, Result{}, Result{Stop: res.Stop, Path: res.Path, Body: res.Body})
}

func TestResults(t *testing.T) {
	yes := func(name, value string) fakerunner.Pair { return fakerunner.Pair{Name: name, Value: value, Set: true} }
	tests := map[string]struct {
		answer fakerunner.Answer
		want   Result
	}{
		"stop": {
			fakerunner.Answer{Stop: true, Status: 401, Headers: []fakerunner.Pair{yes("Content-Type", "application/problem+json")}, Body: []byte("{}")},
			Result{Stop: true, Status: 401, Headers: []Header{{"Content-Type", "application/problem+json", true}}, Body: []byte("{}")},
		},
		"stop without a status": {fakerunner.Answer{Stop: true, Body: []byte("ok")}, Result{Stop: true, Status: 200, Body: []byte("ok")}},
		"empty body is none":    {fakerunner.Answer{Stop: true, Status: 503, Body: []byte{}}, Result{Stop: true, Status: 503}},
		"rewrite": {
			fakerunner.Answer{Path: "/x", Headers: []fakerunner.Pair{{Name: "gone"}, yes("empty", ""), yes("set", "v")}},
			Result{Path: "/x", HasPath: true, Headers: []Header{{"gone", "", false}, {"empty", "", true}, {"set", "v", true}}},
		},
		"arguments and answer": {
			fakerunner.Answer{Args: []fakerunner.Pair{{Name: "a"}, yes("b", "2")}, RespHeaders: []fakerunner.Pair{yes("X-A", "1")}},
			Result{Args: []Header{{"a", "", false}, {"b", "2", true}}, RespHeaders: []Header{{"X-A", "1", true}}},
		},
		"body": {fakerunner.Answer{Body: []byte("new")}, Result{Body: []byte("new")}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := start(t, func(*fakerunner.Call) fakerunner.Answer { return tc.answer })
			res := Result{Stop: true, Path: "left over", HasPath: true, Body: []byte("left over")}
			require.NoError(t, c.Call(context.Background(), testConf(), request(), &res))
			assert.Equal(t, tc.want.Headers, append([]Header(nil), res.Headers...))
			res.Headers, tc.want.Headers = nil, nil
			assert.Equal(t, tc.want, res)
		})
	}
}

func TestExtraInfo(t *testing.T) {
	type answer struct {
		value string
		ok    bool
	}
	var uri, empty, unknown answer
	var body string
	c, _ := start(t, func(call *fakerunner.Call) fakerunner.Answer {
		uri.value, uri.ok = call.Var("real_request_uri")
		empty.value, empty.ok = call.Var("empty")
		unknown.value, unknown.ok = call.Var("consumer_name")
		body = call.Body()
		return fakerunner.Answer{}
	})
	req := request()
	req.Source = source{"real_request_uri": "/raw%2F", "empty": "", "body": "hello"}
	var res Result
	require.NoError(t, c.Call(context.Background(), testConf(), req, &res))
	assert.Equal(t, answer{"/raw%2F", true}, uri)
	assert.True(t, empty.ok)
	assert.Equal(t, answer{}, unknown)
	assert.Equal(t, "hello", body)
}

func TestTokensAreKeptAndAskedForAnew(t *testing.T) {
	c, r := start(t, nothing)
	conf, other := testConf(), NewConf("route#b#1", nil)
	var res Result
	for range 3 {
		require.NoError(t, c.Call(context.Background(), conf, request(), &res))
		require.NoError(t, c.Call(context.Background(), other, request(), &res))
	}
	assert.Len(t, r.Prepared(), 2, "a token is asked for once")
	assert.Equal(t, 1, r.Accepted(), "one connection carries calls in a row")
	r.Forget()
	require.NoError(t, c.Call(context.Background(), conf, request(), &res))
	assert.Len(t, r.Prepared(), 3)
	c.Reset()
	require.NoError(t, c.Call(context.Background(), conf, request(), &res))
	assert.Len(t, r.Prepared(), 4, "a new runner is asked anew")
}

func TestTokenNeverFoundGivesUp(t *testing.T) {
	c, r := start(t, func(*fakerunner.Call) fakerunner.Answer {
		return fakerunner.Answer{Failed: true, Error: a6err.CodeCONF_TOKEN_NOT_FOUND}
	})
	var res Result
	err := c.Call(context.Background(), testConf(), request(), &res)
	require.ErrorIs(t, err, ErrTokenNotFound)
	assert.Len(t, r.Prepared(), maxTries)
}

func TestFailures(t *testing.T) {
	t.Run("error frame", func(t *testing.T) {
		c, r := start(t, func(*fakerunner.Call) fakerunner.Answer {
			return fakerunner.Answer{Failed: true, Error: a6err.CodeSERVICE_UNAVAILABLE}
		})
		var res Result
		require.ErrorContains(t, c.Call(context.Background(), testConf(), request(), &res), "SERVICE_UNAVAILABLE")
		assert.Len(t, r.Prepared(), 1, "such an error is not tried again")
	})
	t.Run("hang up", func(t *testing.T) {
		c, _ := start(t, func(*fakerunner.Call) fakerunner.Answer { return fakerunner.Answer{Hangup: true} })
		var res Result
		require.Error(t, c.Call(context.Background(), testConf(), request(), &res))
	})
	t.Run("no runner", func(t *testing.T) {
		c := NewClient(socket(t), zaptest.NewLogger(t))
		var res Result
		require.ErrorContains(t, c.Call(context.Background(), testConf(), request(), &res), "connecting to the runner")
	})
	t.Run("silent runner", func(t *testing.T) {
		path := socket(t)
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		defer func() { _ = l.Close() }()
		c := NewClient(path, zaptest.NewLogger(t))
		c.timeout = 20 * time.Millisecond
		var res Result
		require.ErrorIs(t, c.Call(context.Background(), testConf(), request(), &res), os.ErrDeadlineExceeded)
	})
	t.Run("too large", func(t *testing.T) {
		c, _ := start(t, nothing)
		req := request()
		req.Path = string(make([]byte, maxFrameData+1))
		var res Result
		require.ErrorIs(t, c.Call(context.Background(), testConf(), req, &res), errTooLarge)
	})
}

func TestOnlyTheFirstHundredHeaders(t *testing.T) {
	var got *fakerunner.Call
	c, _ := start(t, func(call *fakerunner.Call) fakerunner.Answer { got = call; return fakerunner.Answer{} })
	req := request()
	for i := range 150 {
		req.Header["X-"+string(rune('A'+i/26))+string(rune('a'+i%26))] = []string{"v"}
	}
	var res Result
	require.NoError(t, c.Call(context.Background(), testConf(), req, &res))
	assert.Len(t, got.Headers, MaxHeaders)
	assert.Equal(t, "host", got.Headers[0].Name)
}

func TestManyCallsAtOnceKeepFewConnections(t *testing.T) {
	const calls = 100
	all := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(calls)
	c, r := start(t, func(*fakerunner.Call) fakerunner.Answer { arrived.Done(); <-all; return fakerunner.Answer{} })
	var done sync.WaitGroup
	conf := testConf()
	for range calls {
		done.Go(func() {
			var res Result
			assert.NoError(t, c.Call(context.Background(), conf, request(), &res))
		})
	}
	arrived.Wait()
	close(all)
	done.Wait()
	assert.Len(t, r.Prepared(), 1, "callers wait for the first to get the token")
	assert.Eventually(t, func() bool { return r.Open() <= maxIdle }, 5*time.Second, time.Millisecond)
}

func TestMethods(t *testing.T) {
	m, ok := MethodOf("PATCH")
	assert.True(t, ok)
	assert.Equal(t, A6.MethodPATCH, m)
	for _, name := range []string{"PURGE", "QUERY", "CONNECT", "post", ""} {
		_, ok := MethodOf(name)
		assert.False(t, ok, name)
	}
}

func BenchmarkCall(b *testing.B) {
	c, _ := start(b, nothing)
	conf := testConf()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var res Result
		req := request()
		for pb.Next() {
			if err := c.Call(context.Background(), conf, req, &res); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
