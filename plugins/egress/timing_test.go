package egress

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func (r result) timings() contract.Timings {
	return contract.ParseTimings(r.header.Get(contract.HeaderTimings))
}

// secureEndpoint serves HTTPS as consumer.example would, if its certificate were not for 127.0.0.1.
func secureEndpoint(t *testing.T, cert tls.Certificate, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	endpoint := httptest.NewUnstartedServer(h)
	endpoint.TLS, endpoint.Config.ErrorLog = &tls.Config{Certificates: []tls.Certificate{cert}}, quiet
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	return endpoint
}

func TestACallTellsWhereItsTimeWent(t *testing.T) {
	slow := 30 * time.Millisecond
	cert, roots := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	endpoint := secureEndpoint(t, cert, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(slow) // the endpoint's own time is what is measured
		_, _ = io.WriteString(w, "done")
	})
	b := newBench(t, func(o *Options) { o.Roots = roots })
	first := b.call(endpoint.URL).timings()
	require.False(t, first.Reused)
	require.Zero(t, first.DNSMS, "an address needs no look-up")
	require.Positive(t, first.ConnectMS)
	require.Positive(t, first.TLSMS)
	require.GreaterOrEqual(t, first.FirstByteMS, contract.Milliseconds(slow))
	require.GreaterOrEqual(t, first.TotalMS, first.ConnectMS+first.TLSMS+first.FirstByteMS)

	second := b.call(endpoint.URL).timings()
	require.True(t, second.Reused)
	require.Zero(t, second.ConnectMS+second.TLSMS+second.DNSMS)
	require.GreaterOrEqual(t, second.FirstByteMS, contract.Milliseconds(slow))
}

func TestALookUpIsTimedOnItsOwn(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(endpoint.Listener.Addr().String())
	require.NoError(t, err)
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"127.0.0.1"})
	b := newBench(t, asking(t, dns))
	took := b.call("http://consumer.example:" + port).timings()
	require.Positive(t, took.DNSMS)
	require.Positive(t, took.ConnectMS)
	require.Zero(t, took.TLSMS)

	lost := b.call("http://nobody.example/")
	lost.wantFailure(t, contract.OutcomeDNS, "")
	require.Positive(t, lost.timings().DNSMS)
	require.Zero(t, lost.timings().ConnectMS)
}

func TestAFailedCallTellsThePhaseThatItFailedIn(t *testing.T) {
	hangs := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	b := newBench(t)
	none := b.post(b.pass(hangs, soon), nil)
	none.wantFailure(t, contract.OutcomeTimeout, contract.DetailHeaderTimeout)
	require.GreaterOrEqual(t, none.timings().FirstByteMS, contract.Milliseconds(soon/2))

	secret := b.post(b.passFor("https"+hangs[len("http"):], contract.Timeouts{Connect: contract.Duration(soon)}), nil)
	secret.wantFailure(t, contract.OutcomeConnect, contract.DetailConnectTimeout)
	require.GreaterOrEqual(t, secret.timings().TLSMS, contract.Milliseconds(soon/2), "it was the handshake that took the time")
	require.Zero(t, secret.timings().FirstByteMS)
}

func TestTheWayThroughAProxyIsTimedAsTheConnection(t *testing.T) {
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"93.184.216.34"})
	for scheme, talk := range map[string]func(*middle, net.Conn){"http": connectProxy, "socks5": socksProxy} {
		m := newMiddle(t, talk, &middle{plain: plain.Listener.Addr().String()})
		took := newBench(t, closed(t), asking(t, dns), through(t, scheme+"://me:pass@"+m.address)).call("http://consumer.example/").timings()
		require.Positive(t, took.DNSMS, scheme)
		require.Positive(t, took.ConnectMS, scheme)
	}
}

func TestAllHeadersOfTheEndpointAreToldAndNoCookie(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Add("Set-Cookie", "session=s3cr3t; Path=/")
		w.Header().Set("Server", "nginx/1.2 & co=1")
		w.Header().Set("X-Webhook-Timings", "total;dur=1e9")
		w.WriteHeader(http.StatusNoContent)
	})
	res := newBench(t).call(endpoint.URL)
	told := res.header.Get(contract.HeaderAnswered)
	require.NotContains(t, told, "s3cr3t")
	headers, cut := contract.DecodeHeaders(told)
	require.False(t, cut)
	for _, want := range []contract.Header{
		{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "Set-Cookie", Value: contract.Hidden},
		{Name: "Server", Value: "nginx/1.2 & co=1"}, {Name: "X-Webhook-Timings", Value: "total;dur=1e9"},
	} {
		require.Contains(t, headers, want)
	}
	require.Less(t, res.timings().TotalMS, 1e9, "what the endpoint says of itself is not ours")
}
