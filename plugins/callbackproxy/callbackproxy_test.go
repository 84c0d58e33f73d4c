package callbackproxy_test

import (
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
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/callbackproxy"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/once"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

const target = "https://consumer.example/hooks?a=%2F"

func signer(t testing.TB, key string, now func() time.Time) *contract.Signer {
	t.Helper()
	s, err := contract.NewSigner([]byte(strings.Repeat(key, contract.MinKeyBytes)), now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func statement(t testing.TB, s *contract.Signer, target string) string {
	t.Helper()
	token, err := s.SignCallback(contract.Callback{Target: target, Subscription: "sub_1", Delivery: "dlv_1", Certificate: "cert_1", Timeouts: contract.Timeouts{Total: contract.Duration(3 * time.Second)}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func valid(t testing.TB) string { return statement(t, signer(t, "c", time.Now), target) }

func handler(t testing.TB) (h *callbackproxy.Handler, ready *bool) {
	t.Helper()
	policy, err := guard.New(nil, false)
	if err != nil {
		t.Fatal(err)
	}
	ready = new(bool)
	*ready = true
	return &callbackproxy.Handler{
		Signer: signer(t, "c", time.Now), Policy: policy, Book: pass.NewBook(time.Now), Used: once.New(time.Minute, 1<<16, time.Now), Log: zap.NewNop(),
		Ready: func() bool { return *ready },
	}, ready
}

func unit(t testing.TB) (plugin.Plugin, *pass.Book, *bool) {
	t.Helper()
	h, ready := handler(t)
	return filter.NewGate(zap.NewNop(), nil).Plugin(callbackproxy.Name, h), h.Book, ready
}

func TestACallWithAStatementGoesOnWithAPassForExactlyItsTarget(t *testing.T) {
	p, book, _ := unit(t)
	r := requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t), "X_Webhook_Pass", "forged", "x-webhook-pass", "forged",
		"webhook-id", "dlv_1", "Authorization", "Bearer consumers-own", "X-Consumer-Id", "forged", "Cookie", "a=b")
	if a := requesttest.Call(t, "{}", r, p); a != nil {
		t.Fatalf("refused: %d %s", a.Status, a.Body)
	}
	path, header := r.Upstream()
	if names := requesttest.Names(header); path != "/" || !slices.Equal(names, []string{"authorization", "cookie", "webhook-id", "x-webhook-pass"}) {
		t.Fatalf("the egress gets %s with %v", path, names)
	}
	if r.VarCalls > 0 {
		t.Errorf("%d questions back to APISIX on the hot path", r.VarCalls)
	}
	g, ok := book.Redeem(header["x-webhook-pass"][0])
	if !ok || g.Target.String() != target || time.Duration(g.Timeouts.Total) != 3*time.Second || g.Certificate != "cert_1" || g.Subscription != "sub_1" {
		t.Fatalf("the pass opens %+v, %t", g, ok)
	}
}

// Set is dropped when the client's value is equal: a used pass sent again must not stay.
func TestAReplayedPassIsReplaced(t *testing.T) {
	p, _, _ := unit(t)
	first := requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t))
	requesttest.Call(t, "{}", first, p)
	_, header := first.Upstream()
	seen := header["x-webhook-pass"][0]
	second := requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t), contract.HeaderPass, seen)
	requesttest.Call(t, "{}", second, p)
	if _, header = second.Upstream(); len(header["x-webhook-pass"]) != 1 || header["x-webhook-pass"][0] == seen {
		t.Fatalf("the egress gets %v", header["x-webhook-pass"])
	}
}

func TestRefusals(t *testing.T) {
	now := func(by time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(by) } }
	caller, err := signer(t, "c", time.Now).SignCaller(contract.Caller{Consumer: "con_1", Resource: "orders", Action: "subscribe"})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(valid(t), ".")
	unsigned := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
	tests := map[string]struct {
		method    string
		statement []string
		status    int
		outcome   contract.Outcome
	}{
		"GET":                      {method: "GET", statement: []string{valid(t)}, status: 405},
		"PUT":                      {method: "PUT", statement: []string{valid(t)}, status: 405},
		"no statement":             {status: 403, outcome: contract.OutcomeUnvouched},
		"an empty one":             {statement: []string{""}, status: 403, outcome: contract.OutcomeUnvouched},
		"garbage":                  {statement: []string{"a.b.c"}, status: 403, outcome: contract.OutcomeUnvouched},
		"of another key":           {statement: []string{statement(t, signer(t, "x", time.Now), target)}, status: 403, outcome: contract.OutcomeUnvouched},
		"about a caller":           {statement: []string{caller}, status: 403, outcome: contract.OutcomeUnvouched},
		"unsigned":                 {statement: []string{unsigned}, status: 403, outcome: contract.OutcomeUnvouched},
		"with another payload":     {statement: []string{parts[0] + "." + parts[1] + "A." + parts[2]}, status: 403, outcome: contract.OutcomeUnvouched},
		"expired":                  {statement: []string{statement(t, signer(t, "c", now(-2*time.Minute)), target)}, status: 403, outcome: contract.OutcomeUnvouched},
		"of the future":            {statement: []string{statement(t, signer(t, "c", now(time.Hour)), target)}, status: 403, outcome: contract.OutcomeUnvouched},
		"twice":                    {statement: []string{valid(t), valid(t)}, status: 400},
		"a loopback target":        {statement: []string{statement(t, signer(t, "c", time.Now), "https://127.0.0.1/")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"a metadata service":       {statement: []string{statement(t, signer(t, "c", time.Now), "https://169.254.169.254/latest")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"plain http":               {statement: []string{statement(t, signer(t, "c", time.Now), "http://consumer.example/")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"a file":                   {statement: []string{statement(t, signer(t, "c", time.Now), "file:///etc/passwd")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"no URL":                   {statement: []string{statement(t, signer(t, "c", time.Now), "https://\r\nHost: x")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"credentials in the URL":   {statement: []string{statement(t, signer(t, "c", time.Now), "https://a:b@consumer.example/")}, status: 502, outcome: contract.OutcomeAddressRefused},
		"the port of another kind": {statement: []string{statement(t, signer(t, "c", time.Now), "https://consumer.example:6379/")}, status: 502, outcome: contract.OutcomeAddressRefused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, book, _ := unit(t)
			if test.method == "" {
				test.method = "POST"
			}
			r := requesttest.New(t, test.method, "/-/callback")
			for _, s := range test.statement {
				r.Add(contract.HeaderStatement, s)
			}
			a := requesttest.Call(t, "{}", r, p)
			if a == nil || a.Status != test.status || contract.Outcome(a.Header.Get(contract.HeaderOutcome)) != test.outcome {
				t.Fatalf("got %+v", a)
			}
			if book.Outstanding() > 0 {
				t.Error("a pass was issued")
			}
			for _, s := range test.statement {
				if s != "" && strings.Contains(string(a.Body), s) {
					t.Error("the answer repeats the statement")
				}
			}
		})
	}
}

func TestAStatementIsGoodForOneCall(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	h, _ := handler(t)
	h.Log = zap.New(core)
	p := filter.NewGate(zap.NewNop(), nil).Plugin(callbackproxy.Name, h)
	statement := valid(t)
	call := func() *requesttest.Answer {
		return requesttest.Call(t, "{}", requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, statement), p)
	}
	if a := call(); a != nil {
		t.Fatalf("the first call is refused: %+v", a)
	}
	for range 2 {
		if a := call(); a == nil || a.Status != http.StatusForbidden || a.Header.Get(contract.HeaderOutcome) != "unvouched" || !strings.Contains(string(a.Body), "used before") {
			t.Fatalf("got %+v", a)
		}
	}
	if h.Book.Outstanding() != 1 {
		t.Errorf("%d passes were issued", h.Book.Outstanding())
	}
	if logs.Len() != 2 || strings.Contains(fmt.Sprint(logs.All()), statement) {
		t.Errorf("the log says %v", logs.All())
	}
}

// Who is told to try again has not used up anything.
func TestACallBeforeTheEgressListensUsesNothingUp(t *testing.T) {
	p, _, ready := unit(t)
	statement := valid(t)
	for _, *ready = range []bool{false, true} {
		a := requesttest.Call(t, "{}", requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, statement), p)
		if (a == nil) != *ready {
			t.Fatalf("got %+v", a)
		}
	}
}

func TestWhenTooManyStatementsAreRememberedCallsAreRefused(t *testing.T) {
	h, _ := handler(t)
	h.Used = once.New(time.Minute, 1, time.Now)
	p := filter.NewGate(zap.NewNop(), nil).Plugin(callbackproxy.Name, h)
	overloaded := 0
	for range 200 {
		a := requesttest.Call(t, "{}", requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t)), p)
		if a != nil && a.Status == http.StatusServiceUnavailable && a.Header.Get(contract.HeaderOutcome) == "overloaded" {
			overloaded++
		}
	}
	if overloaded < 200-64 {
		t.Fatalf("%d of 200 calls were refused", overloaded)
	}
}

// Whatever the callback service signs, the gateway has the last word on where a callback goes.
func TestNoPassIsIssuedForAHostileURL(t *testing.T) {
	for _, hostile := range testkit.HostileURLs() {
		p, book, _ := unit(t)
		r := requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, statement(t, signer(t, "c", time.Now), hostile.URL))
		a := requesttest.Call(t, "{}", r, p)
		if a == nil || a.Status != http.StatusBadGateway || contract.Outcome(a.Header.Get(contract.HeaderOutcome)) != contract.OutcomeAddressRefused {
			t.Errorf("%q: got %+v", hostile.URL, a)
		}
		if book.Outstanding() > 0 {
			t.Errorf("%q: a pass was issued", hostile.URL)
		}
	}
}

func TestCallsAreRefusedUntilTheEgressListens(t *testing.T) {
	p, _, ready := unit(t)
	*ready = false
	a := requesttest.Call(t, "{}", requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t)), p)
	if a == nil || a.Status != http.StatusServiceUnavailable || a.Header.Get(contract.HeaderOutcome) != "" {
		t.Fatalf("got %+v", a)
	}
}

func TestAFullBookIsOverload(t *testing.T) {
	p, book, _ := unit(t)
	for range pass.MaxOutstanding {
		if _, err := book.Issue(pass.Grant{}); err != nil {
			t.Fatal(err)
		}
	}
	a := requesttest.Call(t, "{}", requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t)), p)
	if a == nil || a.Status != http.StatusServiceUnavailable || a.Header.Get(contract.HeaderOutcome) != "overloaded" {
		t.Fatalf("got %+v", a)
	}
}

func TestAHundredHeadersAreRefused(t *testing.T) {
	p, _, _ := unit(t)
	r := requesttest.New(t, "POST", "/-/callback", contract.HeaderStatement, valid(t))
	for i := range 99 {
		r.Add(fmt.Sprintf("X-%d", i), "1")
	}
	r.Add(contract.HeaderPass, "forged")
	if a := requesttest.Call(t, "{}", r, p); a == nil || a.Status != http.StatusBadRequest {
		t.Fatalf("got %+v", a)
	}
}

func TestOtherRoutesAreLeftUntouched(t *testing.T) {
	p, _, _ := unit(t)
	for _, target := range []string{"/", "/orders/subscribe", "/-/callback/", "/-/callback/x", "/-/Callback", "/x/-/callback"} {
		r := requesttest.New(t, "POST", target, contract.HeaderStatement, "x")
		if a := requesttest.Call(t, "{}", r, p); a != nil || r.Touched() || r.VarCalls > 0 {
			t.Errorf("%s: answer %+v, touched %t", target, a, r.Touched())
		}
	}
}

func BenchmarkCallback(b *testing.B) {
	h, _ := handler(b)
	p := filter.NewGate(zap.NewNop(), nil).Plugin(callbackproxy.Name, h)
	conf, _ := p.ParseConf([]byte("{}"))
	r := requesttest.New(b, "POST", "/-/callback", contract.HeaderStatement, valid(b), "host", "gateway", "user-agent", "apisix-webhooks/1",
		"content-type", "application/cloudevents+json", "content-length", "900", "webhook-id", "dlv_1", "webhook-timestamp", "1",
		"webhook-signature", "v1,x", "traceparent", "00-1-1-01", "x-request-id", "1", "x-team", "billing")
	b.ReportAllocs()
	for b.Loop() {
		r.Reset()
		h.Used = once.New(time.Minute, 1, time.Now) // the one statement is good each time
		if requesttest.Run(b, conf, r, p) != nil {
			b.Fatal("refused")
		}
		h.Book.Redeem(r.Header().Get(contract.HeaderPass))
	}
}
