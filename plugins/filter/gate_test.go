package filter_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

type handler func(filter.Config, pkgHTTP.Request) *filter.Refusal

func (h handler) Owns(path []byte) bool { return string(path) == "/mine" }
func (h handler) Handle(c filter.Config, r pkgHTTP.Request) *filter.Refusal {
	return h(c, r)
}

func pass(filter.Config, pkgHTTP.Request) *filter.Refusal { return nil }

func gate(fault error) (*filter.Gate, *observer.ObservedLogs) {
	core, logs := observer.New(zap.WarnLevel)
	return filter.NewGate(zap.New(core), fault), logs
}

func TestAnUnreadableConfigurationRefusesEveryCall(t *testing.T) {
	for _, value := range []string{"", "hunter2", "null", "[]", `{"allow":"hunter2"}`, `{"key_cache_ttl":7}`, `{}{}`, "\xff"} {
		g, logs := gate(nil)
		p := g.Plugin("p", handler(pass))
		for _, path := range []string{"/mine", "/another"} {
			a := requesttest.Call(t, value, requesttest.New(t, "GET", path), p)
			if a == nil || a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Fatalf("%q on %s: got %+v", value, path, a)
			}
		}
		if logs.Len() != 1 {
			t.Fatalf("%q was logged %d times", value, logs.Len())
		}
		for _, field := range logs.All()[0].Context {
			if strings.Contains(field.String, "hunter2") {
				t.Fatalf("the log repeats the value: %v", field)
			}
		}
	}
}

func TestAForeignConfigurationRefuses(t *testing.T) {
	g, _ := gate(nil)
	for _, conf := range []any{nil, "{}", map[string]any{}} {
		if a := requesttest.Run(t, conf, requesttest.New(t, "GET", "/mine"), g.Plugin("p", handler(pass))); a == nil || a.Status != http.StatusServiceUnavailable {
			t.Fatalf("%v: got %+v", conf, a)
		}
	}
}

func TestAFaultyEnvironmentRefusesEveryCallAndIsLoggedOnce(t *testing.T) {
	g, logs := gate(errors.New("WEBHOOK_GATEWAY_KEY is missing"))
	for range 3 {
		a := requesttest.Call(t, "{}", requesttest.New(t, "GET", "/another"), g.Plugin("p", nil))
		if a == nil || a.Status != http.StatusServiceUnavailable || strings.Contains(string(a.Body), "WEBHOOK") {
			t.Fatalf("got %+v", a)
		}
	}
	if logs.Len() != 1 {
		t.Fatalf("logged %d times", logs.Len())
	}
}

func TestAPathOfSomebodyElseIsLeftUntouched(t *testing.T) {
	g, _ := gate(nil)
	r := requesttest.New(t, "GET", "/another", "X-Webhook-Pass", "1")
	if a := requesttest.Call(t, "{}", r, g.Plugin("p", handler(pass))); a != nil || r.Touched() || r.VarCalls > 0 {
		t.Fatalf("answer %+v, touched %t, %d questions", a, r.Touched(), r.VarCalls)
	}
}

func TestAPanicRefusesThatCallAndIsLoggedOncePerPlace(t *testing.T) {
	g, logs := gate(nil)
	bad := true
	p := g.Plugin("p", handler(func(_ filter.Config, r pkgHTTP.Request) *filter.Refusal {
		r.Header().Set("X-Half", "done")
		if bad {
			panic("boom")
		}
		_ = []byte{}[len(r.Path())]
		return nil
	}))
	for range 3 {
		a := requesttest.Call(t, "{}", requesttest.New(t, "GET", "/mine"), p)
		if a == nil || a.Status != http.StatusInternalServerError || strings.Contains(string(a.Body), "boom") {
			t.Fatalf("got %+v", a)
		}
	}
	if logs.Len() != 1 {
		t.Fatalf("logged %d times", logs.Len())
	}
	bad = false
	requesttest.Call(t, "{}", requesttest.New(t, "GET", "/mine"), p)
	if logs.Len() != 2 {
		t.Fatalf("a second place: logged %d times", logs.Len())
	}
	if n := g.InFlight(); n != 0 {
		t.Fatalf("%d in flight", n)
	}
}

func TestARefusalWithoutDetailHasABodyAndOneValuePerHeader(t *testing.T) {
	g, _ := gate(nil)
	p := g.Plugin("p", handler(func(filter.Config, pkgHTTP.Request) *filter.Refusal {
		return filter.Refuse(http.StatusUnauthorized, "x").With("WWW-Authenticate", "a").With("WWW-Authenticate", "b")
	}))
	a := requesttest.Call(t, "{}", requesttest.New(t, "GET", "/mine"), p) // Call checks the answer
	if got := a.Header.Values("WWW-Authenticate"); len(got) != 1 || got[0] != "b" {
		t.Fatalf("got %v", got)
	}
}

func TestInFlightCountsCallsInsideAHandler(t *testing.T) {
	g, _ := gate(nil)
	inside, leave := make(chan struct{}), make(chan struct{})
	p := g.Plugin("p", handler(func(filter.Config, pkgHTTP.Request) *filter.Refusal {
		inside <- struct{}{}
		<-leave
		return nil
	}))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { requesttest.Call(t, "{}", requesttest.New(t, "GET", "/mine"), p) })
		<-inside
	}
	if n := g.InFlight(); n != 3 {
		t.Fatalf("%d in flight", n)
	}
	close(leave)
	wg.Wait()
	if n := g.InFlight(); n != 0 {
		t.Fatalf("%d in flight", n)
	}
}

func TestTheSameValueIsOneConfigurationAndIsAdoptedOnce(t *testing.T) {
	g, _ := gate(nil)
	adopted := 0
	g.OnConfig(func(filter.Config) error { adopted++; return nil })
	const value = `{"jwt":{"issuers":[{"issuer":"i","audience":"a","jwks_url":"https://i.example/"}]}}`
	first, _ := g.Plugin("p", handler(pass)).ParseConf([]byte(value))
	second, _ := g.Plugin("q", handler(pass)).ParseConf([]byte(value))
	if first.(filter.Config).Issuers != second.(filter.Config).Issuers || adopted != 1 {
		t.Fatalf("%+v and %+v, adopted %d times", first, second, adopted)
	}
	for i := range 100 {
		_, _ = g.Plugin("p", handler(pass)).ParseConf([]byte(strings.Repeat(" ", i) + value))
	}
	if adopted != 100 {
		t.Fatalf("adopted %d times", adopted)
	}
}

func TestAConfigurationThatIsNotAdoptedRefusesEveryCall(t *testing.T) {
	g, logs := gate(nil)
	g.OnConfig(func(filter.Config) error { return errors.New("jwks_url is plain http") })
	for range 2 {
		a := requesttest.Call(t, "{}", requesttest.New(t, "GET", "/another"), g.Plugin("p", handler(pass)))
		if a == nil || a.Status != http.StatusServiceUnavailable || strings.Contains(string(a.Body), "jwks_url") {
			t.Fatalf("got %+v", a)
		}
	}
	if logs.Len() != 1 {
		t.Fatalf("logged %d times", logs.Len())
	}
}
