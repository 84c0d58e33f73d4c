package plugin

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var all = map[string]bool{
	"request-id": true, "proxy-rewrite": true, "limit-count": true, "prometheus": true, "ext-plugin-post-req": true, "key-auth": true,
}

func TestBuildRefuses(t *testing.T) {
	type conf = map[string]any
	entry := func(extra ...string) []any {
		c := conf{"name": "webhook-subscribe", "value": "{}"}
		for _, key := range extra {
			c[key] = true
		}
		return []any{c}
	}
	tests := map[string]struct {
		name string
		raw  any
		want string
	}{
		"unknown plugin":     {"jwt-auth", conf{}, "does not have this plugin"},
		"post-resp":          {"ext-plugin-post-resp", conf{}, "does not have this plugin"},
		"request-id key":     {"request-id", conf{"algorithm": "uuid"}, "algorithm"},
		"proxy-rewrite uri":  {"proxy-rewrite", conf{"uri": "/x"}, "uri"},
		"proxy-rewrite set":  {"proxy-rewrite", conf{"headers": conf{"set": conf{}}}, "'headers' has invalid keys: set"},
		"limit-count policy": {"limit-count", conf{"count": 1, "time_window": 1, "policy": "redis"}, "policy"},
		"limit-count key":    {"limit-count", conf{"count": 1, "time_window": 1, "key": "host"}, "key"},
		"limit-count zero":   {"limit-count", conf{"count": 0, "time_window": 1}, "count"},
		"limit-count code":   {"limit-count", conf{"count": 1, "time_window": 1, "rejected_code": 700}, "rejected_code"},
		"limit-count text":   {"limit-count", conf{"count": "1", "time_window": 1}, "count"},
		"limit-count group":  {"limit-count", conf{"count": 1, "time_window": 1, "group": "g"}, "group"},
		"prometheus key":     {"prometheus", conf{"metrics": 1}, "metrics"},
		"key-auth query":     {"key-auth", conf{"query": "apikey"}, "query"},
		"key-auth header":    {"key-auth", conf{"header": ""}, "header is empty"},
		"degradation":        {"ext-plugin-post-req", conf{"conf": entry(), "allow_degradation": false}, "allow_degradation is refused"},
		"no conf":            {"ext-plugin-post-req", conf{}, "conf must name"},
		"conf entry":         {"ext-plugin-post-req", conf{"conf": entry("when")}, "when"},
		"conf no name":       {"ext-plugin-post-req", conf{"conf": []any{conf{"value": "{}"}}}, "conf[0].name"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Build([]config.Plugin{{Name: tc.name, Path: "routes[0].plugins." + tc.name, Raw: tc.raw}}, all)
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, "routes[0].plugins."+tc.name)
		})
	}
}

func TestOnlyEnabledPlugins(t *testing.T) {
	_, err := Build([]config.Plugin{{Name: "prometheus", Path: "p", Raw: map[string]any{}}}, map[string]bool{})
	require.ErrorContains(t, err, "add prometheus to plugins")
	require.NoError(t, CheckEnabled(all))
	require.ErrorContains(t, CheckEnabled(map[string]bool{"jwt-auth": true}), "jwt-auth")
}

func TestKeyAuth(t *testing.T) {
	consumer := func(name string, raw any) config.Consumer {
		return config.Consumer{Username: name, Plugins: []config.Plugin{{Name: "key-auth", Path: "consumers." + name, Raw: raw}}}
	}
	keys, err := NewKeys([]config.Consumer{consumer("acme", map[string]any{"key": "k-acme"}), consumer("other", map[string]any{"key": "k-other"})})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		auth      KeyAuth
		sent      http.Header
		who, why  string
		remaining http.Header
	}{
		"known": {KeyAuth{Header: "apikey"}, http.Header{"Apikey": {"k-acme"}}, "acme", "",
			http.Header{"Apikey": {"k-acme"}, "X-Consumer-Username": {"acme"}}},
		"hidden": {KeyAuth{Header: "X-Key", HideCredentials: true}, http.Header{"X-Key": {"k-other"}, "Apikey": {"1"}}, "other", "",
			http.Header{"Apikey": {"1"}, "X-Consumer-Username": {"other"}}},
		"forged": {KeyAuth{Header: "apikey", HideCredentials: true},
			http.Header{"Apikey": {"k-acme"}, "X-Consumer-Username": {"root"}, "X-Credential-Identifier": {"1"}, "X-Consumer-Custom-Id": {"1"}}, "acme", "",
			http.Header{"X-Consumer-Username": {"acme"}}},
		"missing": {KeyAuth{Header: "apikey"}, http.Header{"X-Key": {"k-acme"}}, "", "Missing API key in request", http.Header{"X-Key": {"k-acme"}}},
		"wrong":   {KeyAuth{Header: "apikey"}, http.Header{"Apikey": {"k"}}, "", "Invalid API key in request", http.Header{"Apikey": {"k"}}},
	} {
		t.Run(name, func(t *testing.T) {
			who, why := tc.auth.Consumer(keys, tc.sent)
			assert.Equal(t, []any{tc.who, tc.why, tc.remaining}, []any{who, why, tc.sent})
		})
	}
	for want, bad := range map[string][]config.Consumer{
		"key is empty":              {consumer("acme", map[string]any{})},
		"another consumer's":        {consumer("acme", map[string]any{"key": "hunter2"}), consumer("b", map[string]any{"key": "hunter2"})},
		"secret":                    {consumer("acme", map[string]any{"secret": 1})},
		"devgateway knows key-auth": {{Username: "acme", Plugins: []config.Plugin{{Name: "jwt-auth"}}}},
	} {
		_, err := NewKeys(bad)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestLimitCount(t *testing.T) {
	now := time.Unix(1000, 0)
	l := NewLimiter(LimitCount{Count: 2, TimeWindow: 60}, func() time.Time { return now })
	me, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::1")
	steps := []struct {
		after time.Duration
		addr  netip.Addr
		want  Quota
	}{
		{0, me, Quota{true, 1, time.Minute}},
		{20500 * time.Millisecond, me, Quota{true, 0, 39500 * time.Millisecond}},
		{0, me, Quota{false, 0, 39500 * time.Millisecond}},
		{0, other, Quota{true, 1, time.Minute}},
		{39499 * time.Millisecond, me, Quota{false, 0, time.Millisecond}},
		{time.Millisecond, me, Quota{true, 1, time.Minute}},
	}
	for i, s := range steps {
		now = now.Add(s.after)
		assert.Equal(t, s.want, l.Take(s.addr), "step %d", i)
	}
}

func TestLimitCountUnderLoad(t *testing.T) {
	l := NewLimiter(LimitCount{Count: 500, TimeWindow: 3600}, time.Now)
	var allowed, wg = make(chan bool, 2000), sync.WaitGroup{}
	for range 4 {
		wg.Go(func() {
			for range 500 {
				allowed <- l.Take(netip.MustParseAddr("10.0.0.1")).Allowed
			}
		})
	}
	wg.Wait()
	close(allowed)
	n := 0
	for ok := range allowed {
		if ok {
			n++
		}
	}
	assert.Equal(t, 500, n)
}

func TestLimitCountForgetsEndedWindows(t *testing.T) {
	now := time.Unix(0, 0)
	l := NewLimiter(LimitCount{Count: 1, TimeWindow: 1}, func() time.Time { return now })
	addr := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxWindows {
		l.Take(addr)
		addr = addr.Next()
		now = now.Add(time.Millisecond)
	}
	n := 0
	l.windows.Range(func(_, _ any) bool { n++; return true })
	assert.LessOrEqual(t, n, 2*maxWindows)
}

func TestResetSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Minute: "60", 59876 * time.Millisecond: "59.87", 0: "0", time.Millisecond: "0", 500 * time.Millisecond: "0.5",
	} {
		assert.Equal(t, want, ResetSeconds(d))
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	r := m.Route("subscribe")
	for _, status := range []int{200, 200, 401, -1, 999} {
		r.Count(status)
	}
	(*StatusCounter)(nil).Count(200)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, MetricsPath, nil))
	assert.Contains(t, w.Body.String(), `apisix_http_status{code="200",route="subscribe"} 2`)
	assert.Contains(t, w.Body.String(), `apisix_http_status{code="401",route="subscribe"} 1`)
	w = httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	assert.Equal(t, 404, w.Code)
}

func BenchmarkLimitCount(b *testing.B) {
	l := NewLimiter(LimitCount{Count: 1 << 60, TimeWindow: 60}, time.Now)
	addr := netip.MustParseAddr("127.0.0.1")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Take(addr)
		}
	})
}
