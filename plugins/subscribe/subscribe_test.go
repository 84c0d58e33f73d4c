package subscribe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

const key = "whk_secret"

func signer(t testing.TB) *contract.Signer {
	t.Helper()
	s, err := contract.NewSigner([]byte(strings.Repeat("k", contract.MinKeyBytes)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unit is the plugin over a source of the test's own.
func unit(t testing.TB, say func(string, string) (store.Access, error)) (plugin.Plugin, *source, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	s := &source{say: say}
	return filter.NewGate(zap.NewNop(), nil).Plugin(Name, New(signer(t), linkSigner(t), s, nil, time.Now, zap.New(core))), s, logs
}

func TestACallWithAKeyGoesOnWithAStatementInPlaceOfTheKey(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe", "publish"))
	tests := []struct{ method, target, path, action string }{
		{"POST", "/orders/subscribe", "/gateway/orders/subscribe", "subscribe"},
		{"GET", "/orders/subscribe?limit=5&cursor=a%2Fb", "/gateway/orders/subscribe?limit=5&cursor=a%2Fb", "subscribe"},
		{"DELETE", "/orders/subscribe/sub_1", "/gateway/orders/subscribe/sub_1", "subscribe"},
		{"POST", "/orders/subscribe/sub_1/replay", "/gateway/orders/subscribe/sub_1/replay", "subscribe"},
		{"POST", "/orders/events", "/gateway/orders/events", "publish"},
		{"GET", "/orders/events/x", "/gateway/orders/events/x", "publish"},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			r := requesttest.New(t, test.method, test.target, "apikey", key, "X-Userinfo", "e30=", "X-ID-Token", "e30", "X-Team", "a", "Content-Type", "application/json")
			if a := requesttest.Call(t, "{}", r, p); a != nil {
				t.Fatalf("refused: %d %s", a.Status, a.Body)
			}
			path, header := r.Upstream()
			if path != test.path {
				t.Errorf("the upstream gets the path %s", path)
			}
			if names := requesttest.Names(header); !slices.Equal(names, []string{"content-type", "x-team", "x-webhook-statement"}) {
				t.Errorf("the upstream gets %v", names)
			}
			caller, err := signer(t).VerifyCaller(header["x-webhook-statement"][0])
			public, _, _ := strings.Cut(test.target, "?")
			want := contract.Caller{
				Consumer: "con_1", Resource: "orders", Action: test.action, Method: test.method, Path: public, Statement: caller.Statement,
				From: "127.0.0.1",
			}
			if err != nil || caller != want || caller.Statement == "" {
				t.Errorf("got %+v, %v", caller, err)
			}
		})
	}
}

func TestAnybodyGetsThroughToAPublicPathAndAsNobody(t *testing.T) {
	p, source, _ := unit(t, opens("subscribe"))
	for _, headers := range [][]string{nil, {"apikey", key}, {"X-Webhook-Statement", "forged", "X-Consumer-Username", "admin"}} {
		r := requesttest.New(t, "GET", "/.well-known/webhook-keys?subscription=sub_1", headers...)
		if a := requesttest.Call(t, "{}", r, p); a != nil {
			t.Fatalf("refused: %d %s", a.Status, a.Body)
		}
		path, header := r.Upstream()
		if path != "/gateway/.well-known/webhook-keys?subscription=sub_1" {
			t.Errorf("the upstream gets the path %s", path)
		}
		if names := requesttest.Names(header); !slices.Equal(names, []string{"x-webhook-statement"}) {
			t.Errorf("the upstream gets %v", names)
		}
		caller, err := signer(t).VerifyCaller(header["x-webhook-statement"][0])
		want := contract.Caller{
			Resource: "/.well-known/webhook-keys", Action: "public", Method: "GET", Path: "/.well-known/webhook-keys", Statement: caller.Statement, From: "127.0.0.1",
		}
		if err != nil || caller != want {
			t.Errorf("got %+v, %v", caller, err)
		}
	}
	if n := source.count(); n != 0 {
		t.Errorf("a key was looked up %d times", n)
	}
}

func TestAPublicPathIsTakenInOneSpellingOnly(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe"))
	for _, raw := range []string{"/.well-known/webhook%2Dkeys", "/x/../.well-known/webhook-keys", "//.well-known/webhook-keys"} {
		r := requesttest.New(t, "GET", raw)
		if a := requesttest.Call(t, "{}", r, p); a == nil || a.Status != 400 {
			t.Errorf("%s: got %+v", raw, a)
		}
	}
}

func TestForgedIdentityIsReplacedOrStripped(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe"))
	r := requesttest.New(t, "GET", "/orders/subscribe", "ApiKey", key,
		"x-webhook-statement", "forged", "X_Webhook_Statement", "forged", "X-Webhook-Pass", "forged", "X-Consumer-Username", "admin",
		"x_consumer_id", "admin", "X-Credential-Identifier", "admin")
	if a := requesttest.Call(t, "{}", r, p); a != nil {
		t.Fatalf("refused: %s", a.Body)
	}
	_, header := r.Upstream()
	if names := requesttest.Names(header); !slices.Equal(names, []string{"x-webhook-statement"}) {
		t.Fatalf("the upstream gets %v", names)
	}
	if values := header["x-webhook-statement"]; len(values) != 1 || values[0] == "forged" {
		t.Fatalf("the upstream gets %v", values)
	}
}

// A statement that a client saw somewhere is not kept by Set being dropped for an equal value: each one is fresh.
func TestAReplayedStatementIsReplaced(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe"))
	first := requesttest.New(t, "GET", "/orders/subscribe", "apikey", key)
	requesttest.Call(t, "{}", first, p)
	_, header := first.Upstream()
	seen := header["x-webhook-statement"][0]
	second := requesttest.New(t, "GET", "/orders/subscribe", "apikey", key, contract.HeaderStatement, seen)
	requesttest.Call(t, "{}", second, p)
	if _, header = second.Upstream(); header["x-webhook-statement"][0] == seen {
		t.Fatal("the client's statement went through")
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		method, target string
		headers        []string
		say            func(string, string) (store.Access, error)
		status         int
		detail         string
		asked          int
	}{
		"no key":                 {target: "/orders/subscribe", status: 401, detail: "apikey"},
		"an empty key":           {target: "/orders/subscribe", headers: []string{"apikey", ""}, status: 401, detail: "apikey"},
		"a bearer token":         {target: "/orders/subscribe", headers: []string{"Authorization", "Bearer x.y.z"}, status: 401, detail: "not accepted here: send your API key in the header apikey"},
		"key and token":          {target: "/orders/subscribe", headers: []string{"apikey", key, "Authorization", "Bearer x.y.z"}, status: 400, detail: "both apikey and Authorization"},
		"key and Basic":          {target: "/orders/subscribe", headers: []string{"apikey", key, "Authorization", "Basic eA=="}, status: 400, detail: "send one"},
		"empty key and token":    {target: "/orders/subscribe", headers: []string{"apikey", "", "Authorization", "Bearer x.y.z"}, status: 400, detail: "send one"},
		"an unknown key":         {target: "/orders/subscribe", headers: []string{"apikey", key}, say: unknown, status: 401, detail: "not known", asked: 1},
		"unknown key, resource":  {target: "/nowhere/subscribe", headers: []string{"apikey", key}, say: absent, status: 401, detail: "not known", asked: 1},
		"unknown resource":       {target: "/nowhere/subscribe", headers: []string{"apikey", key}, say: nowhere, status: 404, detail: "nowhere", asked: 1},
		"no grant":               {target: "/orders/subscribe", headers: []string{"apikey", key}, say: opens(), status: 403, detail: "subscribe", asked: 1},
		"grant to publish only":  {target: "/orders/subscribe", headers: []string{"apikey", key}, say: opens("publish"), status: 403, detail: "subscribe", asked: 1},
		"grant to subscribe":     {method: "POST", target: "/orders/events", headers: []string{"apikey", key}, say: opens("subscribe"), status: 403, detail: "publish", asked: 1},
		"odd method on events":   {method: "PUT", target: "/orders/events", headers: []string{"apikey", key}, say: opens("subscribe"), status: 403, detail: "publish", asked: 1},
		"no grant to read":       {target: "/orders/events", headers: []string{"apikey", key}, say: opens(), status: 403, asked: 1},
		"Redis is down":          {target: "/orders/subscribe", headers: []string{"apikey", key}, say: down, status: 503, asked: 1},
		"upper case resource":    {target: "/Orders/subscribe", status: 404, detail: "lower-case"},
		"reserved resource":      {target: "/admin/subscribe", status: 404, detail: "reserved"},
		"the callback's segment": {target: "/-/subscribe", status: 404, detail: "lower-case"},
		"two keys":               {target: "/orders/subscribe", headers: []string{"apikey", key, "apikey", "other"}, status: 400, detail: "Apikey"},
		"two content types":      {target: "/orders/subscribe", headers: []string{"apikey", key, "Content-Type", "a/b", "Content-Type", "c/d"}, status: 400, detail: "Content-Type"},
		"two statements":         {target: "/orders/subscribe", headers: []string{"apikey", key, "X-Webhook-Statement", "a", "x-webhook-statement", "b"}, status: 400, detail: "X-Webhook-Statement"},
		"an encoded slash":       {target: "/orders/subscribe%2Fsub_1", status: 400, detail: "percent"},
		"an encoded letter":      {target: "/%6Frders/subscribe", status: 400, detail: "percent"},
		"double encoding":        {target: "/orders/subscribe/%252e%252e", status: 400, detail: "percent"},
		"dots":                   {target: "/x/../orders/subscribe", status: 400, detail: ".."},
		"one dot":                {target: "/./orders/subscribe", status: 400, detail: "two ways"},
		"slashes":                {target: "/orders//subscribe", status: 400, detail: "//"},
		"slashes at the start":   {target: "//orders/subscribe", status: 400, detail: "//"},
		"a parameter":            {target: "/orders/subscribe;x=1", status: 0},
		"a parameter below":      {target: "/orders/subscribe/a;x=1", status: 400, detail: "0x3B"},
		"a backslash":            {target: `/orders/subscribe/a\b`, status: 400, detail: "0x5C"},
		"a control byte":         {target: "/orders/subscribe/a\x01", status: 400, detail: "0x01"},
		"a line feed":            {target: "/orders/subscribe/%0A", status: 400, detail: "percent"},
		"a fragment":             {target: "/orders/subscribe/#x", status: 400, detail: "0x23"},
		"a non-ASCII byte":       {target: "/orders/subscribe/\xc3\xbc", status: 400, detail: "0xC3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.say == nil {
				test.say = func(string, string) (store.Access, error) { t.Error("Redis was asked"); return store.Access{}, nil }
			}
			p, s, logs := unit(t, test.say)
			if test.method == "" {
				test.method = "GET"
			}
			r := requesttest.New(t, test.method, test.target, test.headers...)
			a := requesttest.Call(t, "{}", r, p)
			if test.status == 0 {
				if a != nil || r.Touched() {
					t.Fatalf("not the plugin's path: got %+v", a)
				}
				return
			}
			if a == nil || a.Status != test.status || !strings.Contains(a.Problem(t).Detail, test.detail) {
				t.Fatalf("got %+v", a)
			}
			if challenge := a.Header.Values("WWW-Authenticate"); (len(challenge) == 1) != (test.status == 401) {
				t.Errorf("WWW-Authenticate: %v", challenge)
			}
			if wait := a.Header.Get("Retry-After"); (wait != "") != (test.status == 503) {
				t.Errorf("Retry-After: %q", wait)
			}
			if s.count() != test.asked {
				t.Errorf("Redis was asked %d times", s.count())
			}
			told := string(a.Body) + fmt.Sprint(logs.All())
			if strings.Contains(told, key) || strings.Contains(told, contract.HashKey(key)) {
				t.Errorf("the key is told: %s", told)
			}
		})
	}
}

func absent(string, string) (store.Access, error)  { return store.Access{}, nil }
func nowhere(string, string) (store.Access, error) { return store.Access{Consumer: "con_1"}, nil }

func TestEitherGrantReadsEvents(t *testing.T) {
	for _, action := range []string{"subscribe", "publish"} {
		p, _, _ := unit(t, opens(action))
		r := requesttest.New(t, "GET", "/orders/events", "apikey", key)
		if a := requesttest.Call(t, "{}", r, p); a != nil {
			t.Fatalf("%s: %s", action, a.Body)
		}
		_, header := r.Upstream()
		if caller, err := signer(t).VerifyCaller(header["x-webhook-statement"][0]); err != nil || caller.Action != action {
			t.Fatalf("%s: got %+v, %v", action, caller, err)
		}
	}
}

func TestTheFirstHundredHeadersHideNothing(t *testing.T) {
	p, s, _ := unit(t, opens("subscribe"))
	r := requesttest.New(t, "GET", "/orders/subscribe", "apikey", key)
	for i := range 99 {
		r.Add(fmt.Sprintf("X-%d", i), "1")
	}
	r.Add(contract.HeaderStatement, "forged") // the 101st: no plugin could remove it
	if a := requesttest.Call(t, "{}", r, p); a == nil || a.Status != http.StatusBadRequest || s.count() > 0 {
		t.Fatalf("got %+v", a)
	}
}

func TestACallIsRefusedWhenTheRawTargetCannotBeRead(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe"))
	r := requesttest.New(t, "GET", "/orders/subscribe", "apikey", key)
	r.VarErr = errors.New("connection closed")
	if a := requesttest.Call(t, "{}", r, p); a == nil || a.Status != http.StatusServiceUnavailable {
		t.Fatalf("got %+v", a)
	}
}

func TestOtherRoutesAreLeftUntouched(t *testing.T) {
	p, s, _ := unit(t, opens("subscribe"))
	for _, target := range []string{"/-/callback", "/", "/orders", "/orders/1/subscribe", "/metrics"} {
		r := requesttest.New(t, "POST", target, "apikey", key, "X-Webhook-Statement", "x")
		if a := requesttest.Call(t, "{}", r, p); a != nil || r.Touched() || r.VarCalls > 0 || s.count() > 0 {
			t.Errorf("%s: answer %+v, touched %t", target, a, r.Touched())
		}
	}
}

// The same over a real Redis: what an administrator does is what a caller sees, at the latest after the TTL.
func TestKeysGrantsAndRevocationOverRedis(t *testing.T) {
	ctx := context.Background()
	s, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	_, plain, id := provision(t, s)
	c := &testkit.Clock{}
	p := filter.NewGate(zap.NewNop(), nil).Plugin(Name, New(signer(t), linkSigner(t), s, nil, c.Now, zap.NewNop()))
	status := func(method, target, key string) int {
		if a := requesttest.Call(t, "{}", requesttest.New(t, method, target, "apikey", key), p); a != nil {
			return a.Status
		}
		return 0
	}
	for _, step := range []struct {
		method, target, key string
		want                int
	}{
		{"GET", "/orders/subscribe", plain, 0},
		{"POST", "/orders/events", plain, 403},
		{"GET", "/nowhere/subscribe", plain, 404},
		{"GET", "/nowhere/subscribe", "whk_made-up", 401},
		{"GET", "/orders/subscribe", "whk_made-up", 401},
	} {
		if got := status(step.method, step.target, step.key); got != step.want {
			t.Errorf("%s %s: got %d, want %d", step.method, step.target, got, step.want)
		}
	}
	if err := s.DeleteKey(ctx, "con_1", id); err != nil {
		t.Fatal(err)
	}
	c.Advance(ttl)
	if got := status("GET", "/orders/subscribe", plain); got != 401 {
		t.Errorf("a revoked key: got %d", got)
	}
}

func provision(t testing.TB, s *store.Store) (consumer contract.Consumer, plain, id string) {
	t.Helper()
	ctx := context.Background()
	consumer = contract.Consumer{ID: "con_1", Name: "acme", Grants: []contract.Grant{{Resource: "orders", Actions: []string{"subscribe"}}}}
	if _, err := s.PutResource(ctx, contract.Resource{Name: "orders"}); err != nil {
		t.Fatal(err)
	}
	if err := s.PutConsumer(ctx, consumer); err != nil {
		t.Fatal(err)
	}
	created, plain, err := s.CreateKey(ctx, consumer.ID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return consumer, plain, created.ID
}

func BenchmarkSubscribeWithAKnownKey(b *testing.B) {
	p, _, _ := unit(b, opens("subscribe"))
	conf, _ := p.ParseConf([]byte("{}"))
	r := requesttest.New(b, "GET", "/orders/subscribe", "apikey", key, "accept", "*/*", "user-agent", "bench", "host", "x")
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		if requesttest.Run(b, conf, r, p) != nil {
			b.Fatal("refused")
		}
	}
}
