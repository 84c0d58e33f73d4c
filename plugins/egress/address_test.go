package egress

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// asking makes the egress ask a name server of the test's own.
func asking(t testing.TB, dns *testkit.DNS) func(*Options) {
	t.Helper()
	resolver, err := guard.NewResolver(dns.Address)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Resolver = resolver }
}

func closed(t testing.TB) func(*Options) { return func(o *Options) { o.Policy = policy(t) } }

func TestAProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {})
	if res := newBench(t).call(endpoint.URL); res.outcome != contract.OutcomeResponse {
		t.Fatalf("got %+v", res)
	}
	if transport := newTransport(newDialer(Options{Policy: policy(t)})); transport.Proxy != nil { // the environment is read once per process
		t.Fatal("the transport knows a proxy")
	}
}

func TestAPrivateAddressIsNotDialled(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was dialled") })
	port := endpoint.URL[strings.LastIndexByte(endpoint.URL, ':'):]
	for _, target := range []string{"http://127.0.0.1" + port, "http://localhost" + port, "https://127.0.0.1" + port, "http://[::1]" + port,
		"http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port, "http://169.254.169.254/latest", "http://10.0.0.1/"} {
		t.Run(target, func(t *testing.T) {
			newBench(t, closed(t)).call(target).wantFailure(t, contract.OutcomeAddressRefused, "")
		})
	}
}

// There is a listener on loopback, at which a call that came through would be seen.
func TestANameIsNotDialledIfOneOfItsAddressesMayNotBe(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was dialled") })
	port := endpoint.URL[strings.LastIndexByte(endpoint.URL, ':'):]
	dns := testkit.NewDNS(t)
	dns.Alias("alias.example", "localhost.example")
	dns.Set("localhost.example", []string{"127.0.0.1"})
	for name, addresses := range map[string][]string{
		"loopback": {"127.0.0.1"}, "private": {"10.1.2.3"}, "metadata": {"169.254.169.254"}, "carrier": {"100.64.0.1"}, "zero": {"0.0.0.0"},
		"public-first": {"93.184.216.34", "127.0.0.1"}, "public-last": {"127.0.0.1", "93.184.216.34"}, "public-and-aaaa": {"93.184.216.34", "::1"},
		"aaaa": {"::1"}, "mapped": {"::ffff:127.0.0.1"}, "public-aaaa": {"2606:2800:220:1::1", "127.0.0.1"}, "6to4": {"2002:7f00:1::"}, "nat64": {"64:ff9b::7f00:1"},
		"alias": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if addresses != nil {
				dns.Set(name+".example", addresses)
			}
			b := newBench(t, closed(t), asking(t, dns))
			b.call("http://"+name+".example"+port).wantFailure(t, contract.OutcomeAddressRefused, "")
			b.call("https://"+name+".example"+port).wantFailure(t, contract.OutcomeAddressRefused, "")
		})
	}
}

// A name that is rebound between two calls is refused from the next connection on; a kept one leads to where it led.
func TestANameThatIsReboundIsRefusedAtItsNextConnection(t *testing.T) {
	good := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	port := good.URL[strings.LastIndexByte(good.URL, ':'):]
	dns := testkit.NewDNS(t)
	dns.Set("rebind.example", []string{"127.0.0.1"}, []string{"127.0.0.2"}, []string{"127.0.0.1", "10.0.0.1"})
	b := newBench(t, func(o *Options) { o.Policy = policy(t, "127.0.0.1/32") }, asking(t, dns))
	if res := b.call("http://rebind.example" + port); res.status != http.StatusOK {
		t.Fatalf("got %+v", res)
	}
	for range 2 {
		b.call("http://rebind.example"+port).wantFailure(t, contract.OutcomeAddressRefused, "")
	}
	if asked := dns.Asked("rebind.example"); asked != 3 {
		t.Errorf("DNS was asked %d times for 3 connections", asked)
	}
}

func TestAKeptConnectionAsksNobody(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	port := endpoint.URL[strings.LastIndexByte(endpoint.URL, ':'):]
	dns := testkit.NewDNS(t)
	dns.Set("kept.example", []string{"127.0.0.1"}, []string{"10.0.0.1"})
	b := newBench(t, asking(t, dns))
	for range 5 {
		if res := b.call("http://kept.example" + port); res.status != http.StatusOK {
			t.Fatalf("got %+v", res)
		}
	}
	if asked := dns.Asked("kept.example"); asked != 1 {
		t.Errorf("DNS was asked %d times", asked)
	}
}

func TestAnAddressThatTakesNoConnectionIsFollowedByTheNext(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {})
	port := endpoint.URL[strings.LastIndexByte(endpoint.URL, ':'):]
	dns := testkit.NewDNS(t)
	dns.Set("two.example", []string{"127.0.0.3", "127.0.0.1"}) // nobody listens at the first
	if res := newBench(t, asking(t, dns)).call("http://two.example" + port); res.status != http.StatusOK {
		t.Fatalf("got %+v", res)
	}
	b := newBench(t)
	if res := b.post(b.pass("http://a.localhost"+port, 5*time.Second), nil); res.status != http.StatusOK {
		t.Fatalf("a name of this machine: got %+v", res)
	}
}
