package egress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

func TestTheTargetIsCalledExactlyAsItIs(t *testing.T) {
	for _, path := range []string{"/hooks", "", "/", "/a%2Fb/%C3%BC", "//x", "/a/../b", "/x?", "/x?a=%zz&b=/../", "/a;b=c?d=e%26f", "/%2e%2e/x", "/a[b]"} {
		t.Run(path, func(t *testing.T) {
			got := make(chan *http.Request, 1)
			endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) { got <- r; w.WriteHeader(http.StatusAccepted) })
			b := newBench(t)
			if res := b.call(endpoint.URL + path); res.status != http.StatusAccepted || res.outcome != contract.OutcomeResponse || len(res.body) > 0 {
				t.Fatalf("got %+v", res)
			}
			want := path
			if !strings.HasPrefix(want, "/") {
				want = "/" + want
			}
			r := <-got
			if r.Method != http.MethodPost || r.RequestURI != want || r.Host != strings.TrimPrefix(endpoint.URL, "http://") {
				t.Fatalf("the endpoint got %s %s for %s", r.Method, r.RequestURI, r.Host)
			}
		})
	}
}

func TestTheMethodIsTheGrantsAndTheGrantOfConsentComesBack(t *testing.T) {
	got := make(chan string, 1)
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Method + " " + r.Header.Get("Webhook-Request-Origin")
		w.Header().Set("WebHook-Allowed-Origin", "webhooks.example")
		w.Header().Set("WebHook-Allowed-Rate", "120")
	})
	b := newBench(t)
	res := b.post(b.issue(pass.Grant{Method: http.MethodOptions, Target: parse(t, endpoint.URL)}), nil, "WebHook-Request-Origin", "webhooks.example")
	if asked := <-got; asked != "OPTIONS webhooks.example" {
		t.Errorf("the endpoint got %s", asked)
	}
	if res.outcome != contract.OutcomeResponse || res.header.Get("WebHook-Allowed-Origin") != "webhooks.example" || res.header.Get("WebHook-Allowed-Rate") != "120" {
		t.Errorf("got %+v", res)
	}
}

func TestABodyArrivesByteForByte(t *testing.T) {
	for _, size := range []int{0, 1, maxBuffered, maxBuffered + 1, 5 << 20} {
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d bytes, length known %t", size, known), func(t *testing.T) {
				body := make([]byte, size)
				_, _ = rand.Read(body)
				type seen struct {
					sum    [32]byte
					length int64
				}
				got := make(chan seen, 1)
				endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) {
					all, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					got <- seen{sha256.Sum256(all), r.ContentLength}
				})
				b := newBench(t)
				var reader io.Reader = bytes.NewReader(body)
				length := int64(size)
				if !known {
					reader, length = io.MultiReader(reader), -1
				}
				if res := b.post(b.pass(endpoint.URL, 20*time.Second), reader); res.outcome != contract.OutcomeResponse || res.status != 200 {
					t.Fatalf("got %+v", res)
				}
				if s := <-got; s.sum != sha256.Sum256(body) || s.length != length {
					t.Fatalf("the endpoint got other bytes, or the length %d", s.length)
				}
			})
		}
	}
}

func TestTheEndpointGetsWhatTheCallbackServiceSentAndNothingOfTheGateways(t *testing.T) {
	got := make(chan http.Header, 2)
	endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	b := newBench(t)
	b.post(b.pass(endpoint.URL, 0), strings.NewReader("{}"),
		"Webhook-Id", "dlv_1", "Authorization", "Bearer x", "Cookie", "a=b", "X-Team", "billing", "X-Team", "two", "User-Agent", "apisix-webhooks/1",
		"Content-Type", "application/json", "Traceparent", "00-1-1-01",
		"X-Webhook-Statement", "s", "x_webhook_statement", "s", "X-Consumer-Username", "u", "X-Credential-Identifier", "c",
		"X-Real-IP", "1", "X-Forwarded-For", "1", "X-Forwarded-Proto", "http", "X-Request-Id", "1", "X-APISIX-Upstream-Status", "1",
		"Via", "1.1 x", "Forwarded", "for=1", "Accept-Encoding", "gzip", "Te", "trailers", "Keep-Alive", "5",
		"Proxy-Authorization", "Basic x", "Connection", "keep-alive, X-Hop", "X-Hop", "1", "Upgrade", "h2c")
	header := <-got
	want := []string{"Authorization", "Content-Length", "Content-Type", "Cookie", "Traceparent", "User-Agent", "Webhook-Id", "X-Team"}
	if names := requesttest.Names(header); !slices.Equal(names, want) {
		t.Errorf("the endpoint got %v", names)
	}
	if !slices.Equal(header["X-Team"], []string{"billing", "two"}) || header.Get("User-Agent") != "apisix-webhooks/1" {
		t.Errorf("the endpoint got %v", header)
	}
	b.post(b.pass(endpoint.URL, 0), strings.NewReader("{}"), "User-Agent", "")
	if agent := (<-got).Get("User-Agent"); agent != userAgent {
		t.Errorf("without a User-Agent: %q", agent)
	}
}

func TestOnlyAFewHeadersOfTheEndpointGoBackAndTheOutcomeCannotBeForged(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{
			"Content-Type": "text/x", "Retry-After": "7", "Date": "Thu, 01 Jan 1970 00:00:00 GMT", "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "120",
			"X-Webhook-Outcome": "dns", "X-Webhook-Timings": "total;dur=1e9", "X-Webhook-Answered": "X=forged", "Set-Cookie": "a=b", "Location": "/", "Server": "x", "X-Webhook-Statement": "s", "Trailer": "X-Late",
		} {
			w.Header().Set(name, value)
		}
		w.Header().Add("Retry-After", "9")
		w.Header().Add("X-Webhook-Outcome", "timeout")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte("slow down"))
		w.Header().Set("X-Late", "1")
	})
	res := newBench(t).call(endpoint.URL)
	want := []string{"Content-Length", "Content-Type", "Date", "Retry-After", "Webhook-Allowed-Origin", "Webhook-Allowed-Rate", "X-Webhook-Answered", "X-Webhook-Outcome", "X-Webhook-Timings"}
	if names := requesttest.Names(res.header); !slices.Equal(names, want) {
		t.Errorf("the gateway got %v", names)
	}
	if res.outcome != contract.OutcomeResponse || res.status != 429 || string(res.body) != "slow down" || res.header.Get("Retry-After") != "7" ||
		res.header.Get("Date") != "Thu, 01 Jan 1970 00:00:00 GMT" {
		t.Errorf("got %+v", res)
	}
}

func TestALongHeaderOfTheEndpointStaysBehind(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", strings.Repeat("x", maxHeaderValue+1))
		w.Header().Set("Retry-After", strings.Repeat("1", maxHeaderValue))
	})
	res := newBench(t).call(endpoint.URL)
	if _, ok := res.header["Content-Type"]; ok || len(res.header.Get("Retry-After")) != maxHeaderValue || res.outcome != contract.OutcomeResponse {
		t.Fatalf("got %v", res.header)
	}
}

func TestStatusesComeBackAsTheyAre(t *testing.T) {
	for _, status := range []int{200, 201, 204, 301, 304, 400, 401, 403, 410, 429, 500, 502, 503, 504, 599, 799, 999} {
		endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if res := newBench(t).call(endpoint.URL); res.status != status || res.outcome != contract.OutcomeResponse {
			t.Errorf("%d: got %d %s", status, res.status, res.outcome)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		if res := newBench(t).call(endpoint.URL); res.status != status || res.outcome != contract.OutcomeResponse || res.header.Get("Location") != "" {
			t.Errorf("%d: got %+v", status, res)
		}
	}
}

func TestThePassIsWhatCounts(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {})
	b := newBench(t)
	used := b.pass(endpoint.URL, 0)
	b.post(used, nil)
	expired := b.pass(endpoint.URL, 0)
	b.clock.Advance(pass.Life)
	good := b.pass(endpoint.URL, 0)
	for name, p := range map[string]string{"none": "", "used": used, "expired": expired, "made up": strings.Repeat("a", 32), "another form": good[:30]} {
		t.Run(name, func(t *testing.T) { b.post(p, strings.NewReader("{}")).wantFailure(t, contract.OutcomeUnvouched, "") })
	}
	t.Run("two", func(t *testing.T) {
		b.post(good, nil, contract.HeaderPass, good).wantFailure(t, contract.OutcomeUnvouched, "")
	})
	if res := b.post(good, nil); res.outcome != contract.OutcomeResponse {
		t.Fatalf("a good one: got %+v", res)
	}
}

func TestANameIsCalledAtTheAddressThatDNSGives(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })
	port := endpoint.URL[strings.LastIndexByte(endpoint.URL, ':'):]
	dns := testkit.NewDNS(t)
	dns.Set("consumer.example", []string{"127.0.0.1"})
	b := newBench(t, asking(t, dns))
	if res := b.call("http://consumer.example" + port); string(res.body) != "consumer.example"+port {
		t.Fatalf("got %+v", res)
	}
}

func TestAHostThatDoesNotResolve(t *testing.T) {
	newBench(t, asking(t, testkit.NewDNS(t))).call("https://consumer.example/").wantFailure(t, contract.OutcomeDNS, "")
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	newBench(t).call("http://"+l.Addr().String()).wantFailure(t, contract.OutcomeConnect, "")
}

func TestTLS(t *testing.T) {
	now := time.Now()
	good, roots := certificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	old, oldRoots := certificate(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	tests := map[string]struct {
		config *tls.Config
		roots  *x509.CertPool
		host   string
		want   contract.Outcome
		detail contract.Detail
	}{
		"a good certificate": {&tls.Config{Certificates: []tls.Certificate{good}}, roots, "127.0.0.1", contract.OutcomeResponse, ""},
		"an unknown issuer":  {&tls.Config{Certificates: []tls.Certificate{good}}, x509.NewCertPool(), "127.0.0.1", contract.OutcomeTLS, contract.DetailCertificateIssuer},
		"expired":            {&tls.Config{Certificates: []tls.Certificate{old}}, oldRoots, "127.0.0.1", contract.OutcomeTLS, contract.DetailCertificateExpired},
		"another host's":     {&tls.Config{Certificates: []tls.Certificate{good}}, roots, "127.0.0.2", contract.OutcomeTLS, contract.DetailCertificateHost},
		"TLS 1.1 only":       {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, roots, "127.0.0.1", contract.OutcomeTLS, contract.DetailHandshakeRefused},
		"wants our own":      {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, roots, "127.0.0.1", contract.OutcomeTLS, contract.DetailHandshakeRefused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			l, err := net.Listen("tcp", test.host+":0")
			if err != nil {
				t.Skip(err)
			}
			_ = endpoint.Listener.Close()
			endpoint.Listener, endpoint.TLS = l, test.config
			endpoint.Config.ErrorLog = quiet
			endpoint.StartTLS()
			t.Cleanup(endpoint.Close)
			res := newBench(t, func(o *Options) { o.Roots = test.roots }).call("https://" + l.Addr().String())
			if test.want == contract.OutcomeResponse {
				if res.status != 200 || res.outcome != test.want {
					t.Fatalf("got %+v", res)
				}
				return
			}
			res.wantFailure(t, test.want, test.detail)
		})
	}
}

func TestHTTP2IsUsedWhereTheEndpointHasIt(t *testing.T) {
	good, roots := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Webhook-Outcome", "dns")
		_, _ = io.WriteString(w, r.Proto)
	}))
	endpoint.EnableHTTP2, endpoint.TLS = true, &tls.Config{Certificates: []tls.Certificate{good}}
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	b := newBench(t, func(o *Options) { o.Roots = roots })
	for range 3 {
		if res := b.call(endpoint.URL); string(res.body) != "HTTP/2.0" || res.outcome != contract.OutcomeResponse {
			t.Fatalf("got %+v", res)
		}
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "half a header": "HTTP/1.1 200 OK\r\nContent-", "another protocol": "SSH-2.0-OpenSSH_9\r\n", "an upgrade": "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"a status of two digits": "HTTP/1.1 20 OK\r\n\r\n", "a status below 100": "HTTP/1.1 042 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			target := raw(t, func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, text) })
			newBench(t).call(target).wantFailure(t, contract.OutcomeReset, "")
		})
	}
}

func TestHeadersWithoutEnd(t *testing.T) {
	for name, parts := range map[string][2]string{
		"one that is too long": {"HTTP/1.1 200 OK\r\nX: ", "xxxxxxxxxxxxxxxx"}, "many": {"HTTP/1.1 200 OK\r\n", "X-Y: z\r\n"}, "1xx": {"", "HTTP/1.1 103 Early Hints\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan int, 1)
			target := raw(t, func(c net.Conn) {
				readRequest(c)
				n, err := io.WriteString(c, parts[0])
				for chunk := strings.Repeat(parts[1], 500); err == nil; n += len(chunk) {
					_, err = io.WriteString(c, chunk)
				}
				sent <- n
			})
			newBench(t).call(target).wantFailure(t, contract.OutcomeReset, contract.DetailHeadersTooLarge)
			if n := <-sent; n > 16<<20 {
				t.Errorf("the endpoint could send %d bytes", n)
			}
		})
	}
}

func TestHeadersWithoutEndOverHTTP2(t *testing.T) {
	good, roots := certificate(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 100 {
			w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", maxHeaderBytes/90))
		}
	}))
	endpoint.EnableHTTP2, endpoint.TLS = true, &tls.Config{Certificates: []tls.Certificate{good}}
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	newBench(t, func(o *Options) { o.Roots = roots }).call(endpoint.URL).wantFailure(t, contract.OutcomeReset, contract.DetailHeadersTooLarge)
}

func TestAFewEarlyHintsAreFine(t *testing.T) {
	target := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	if res := newBench(t).call(target); res.status != 200 || string(res.body) != "ok" {
		t.Fatalf("got %+v", res)
	}
}

func TestAResetInTheMiddleOfTheHeader(t *testing.T) {
	target := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
		_ = c.(*net.TCPConn).SetLinger(0)
	})
	newBench(t).call(target).wantFailure(t, contract.OutcomeReset, "")
}

// hang starts an endpoint that says so much and then nothing until the other side hangs up.
func hang(t testing.TB, says string) string {
	return raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, says)
		_, _ = io.Copy(io.Discard, c)
	})
}

func TestAnEndpointThatDoesNotAnswerInTime(t *testing.T) {
	for name, says := range map[string]string{"nothing": "", "half a header": "HTTP/1.1 200 OK\r\nX: "} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.post(b.pass(hang(t, says), soon), nil).wantFailure(t, contract.OutcomeTimeout, contract.DetailHeaderTimeout)
		})
	}
}

// silent starts an endpoint that takes connections and never says a word.
func silent(t testing.TB) string {
	return raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

func TestEachPartOfACallHasItsOwnTime(t *testing.T) {
	short, long := contract.Duration(soon), contract.Duration(20*time.Second)
	tests := map[string]struct {
		timeouts contract.Timeouts
		target   func(string) string
		outcome  contract.Outcome
		detail   contract.Detail
	}{
		"the handshake, by connect": {contract.Timeouts{Connect: short, Total: long}, overTLS, contract.OutcomeConnect, contract.DetailConnectTimeout},
		"the handshake, by total":   {contract.Timeouts{Total: short}, overTLS, contract.OutcomeConnect, contract.DetailConnectTimeout},
		"the header, by header":     {contract.Timeouts{Header: short, Total: long}, plain, contract.OutcomeTimeout, contract.DetailHeaderTimeout},
		"the header, by total":      {contract.Timeouts{Total: short, Header: long}, plain, contract.OutcomeTimeout, contract.DetailHeaderTimeout},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b, begun := newBench(t), time.Now()
			b.post(b.passFor(test.target(silent(t)), test.timeouts), nil).wantFailure(t, test.outcome, test.detail)
			if took := time.Since(begun); took < soon || took > 20*soon {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func plain(target string) string   { return target }
func overTLS(target string) string { return strings.Replace(target, "http:", "https:", 1) }

func TestDNSThatDoesNotAnswerIsAConnectTimeout(t *testing.T) {
	b := newBench(t, func(o *Options) {
		o.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
	})
	b.post(b.passFor("https://consumer.example/", contract.Timeouts{Connect: contract.Duration(soon)}), nil).
		wantFailure(t, contract.OutcomeConnect, contract.DetailConnectTimeout)
}

func TestAKeptConnectionHasNoConnectTimeout(t *testing.T) {
	calls, slow := 0, time.NewTimer(0)
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) {
		if calls++; calls > 1 {
			slow.Reset(2 * soon) // longer than what a connection may take
			<-slow.C
		}
	})
	<-slow.C
	b := newBench(t)
	for range 2 {
		if res := b.post(b.passFor(endpoint.URL, contract.Timeouts{Connect: contract.Duration(soon)}), nil); res.outcome != contract.OutcomeResponse {
			t.Fatalf("got %+v", res)
		}
	}
}

func TestAByteASecondEndsWithTheTotal(t *testing.T) {
	drip := func(before, forever string) string {
		return raw(t, func(c net.Conn) {
			readRequest(c)
			_, err := io.WriteString(c, before)
			tick := time.NewTicker(soon / 10)
			defer tick.Stop()
			for err == nil {
				<-tick.C
				_, err = io.WriteString(c, forever)
			}
		})
	}
	b := newBench(t)
	b.post(b.pass(drip("HTTP/1.1 200 OK\r\nX: ", "x"), soon), nil).wantFailure(t, contract.OutcomeTimeout, contract.DetailHeaderTimeout)
	res := b.post(b.passFor(drip("HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n", "x"),
		contract.Timeouts{Header: contract.Duration(soon), Total: contract.Duration(2 * soon)}), nil)
	if res.status != 201 || res.outcome != contract.OutcomeResponse || res.detail != contract.DetailAnswerIncomplete || len(res.body) == 0 {
		t.Fatalf("got %+v", res)
	}
}

func TestOnceTheStatusIsKnownABrokenBodyTakesNothingFromIt(t *testing.T) {
	for name, target := range map[string]string{
		"drips beyond the timeout": hang(t, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
		"breaks": raw(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
		}),
		"bad chunks": raw(t, func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if res := b.post(b.pass(target, soon), nil); res.status != 200 || res.outcome != contract.OutcomeResponse || res.detail != contract.DetailAnswerIncomplete || string(res.body) != "half" {
				t.Fatalf("got %d %s (%s) %q", res.status, res.outcome, res.detail, res.body)
			}
		})
	}
}

func TestABodyIsCutAndTheConnectionClosed(t *testing.T) {
	sent := make(chan int, 1)
	endpoint := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk, n := make([]byte, 1<<20), 0
		for range 1024 { // 1 GiB
			if _, err := w.Write(chunk); err != nil {
				break
			}
			n += len(chunk)
		}
		sent <- n
	})
	res := newBench(t).call(endpoint.URL)
	if res.status != 200 || res.outcome != contract.OutcomeResponse || res.detail != contract.DetailAnswerCut || len(res.body) != maxAnswer {
		t.Fatalf("got %d %s (%s), %d bytes", res.status, res.outcome, res.detail, len(res.body))
	}
	if n := <-sent; n > 64<<20 {
		t.Errorf("the endpoint could send %d bytes", n)
	}
}

func TestACompressedBodyPassesAsItIs(t *testing.T) {
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = io.WriteString(w, "\x1f\x8bnot really"+r.Header.Get("Accept-Encoding"))
	})
	if res := newBench(t).call(endpoint.URL); string(res.body) != "\x1f\x8bnot really" || res.outcome != contract.OutcomeResponse {
		t.Fatalf("got %q", res.body)
	}
}

func TestAnAnswerBeforeTheEndOfALargeBodyArrives(t *testing.T) {
	target := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, c)
	})
	b := newBench(t)
	for range 3 {
		if res := b.post(b.pass(target, 5*time.Second), bytes.NewReader(make([]byte, 5<<20))); res.status != 413 || string(res.body) != "no" {
			t.Fatalf("got %+v", res)
		}
	}
}

func TestARefusalOfALargeBodyArrives(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.post("", bytes.NewReader(make([]byte, 5<<20))).wantFailure(t, contract.OutcomeUnvouched, "")
	}
}

func TestBeyondTheLimitOfCallsIsOverload(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) { inside <- struct{}{}; <-leave })
	b := newBench(t, func(o *Options) { o.MaxCalls = 1 })
	var wg sync.WaitGroup
	wg.Go(func() { b.call(endpoint.URL) })
	<-inside
	b.call(endpoint.URL).wantFailure(t, contract.OutcomeOverloaded, "")
	close(leave)
	wg.Wait()
	go func() { <-inside }()
	if res := b.call(endpoint.URL); res.outcome != contract.OutcomeResponse {
		t.Fatalf("once there is room: got %+v", res)
	}
}

// When the gateway hangs up, that is no fault of the endpoint: there must be no outcome.
func TestAGatewayThatHangsUpGetsNoOutcome(t *testing.T) {
	for name, length := range map[string]string{"a small body": "100", "a large body": "1000000"} {
		t.Run(name, func(t *testing.T) {
			endpoint := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			b := newBench(t)
			c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Length: %s\r\n\r\nhalf", contract.HeaderPass, b.pass(endpoint.URL, 0), length)
			_ = c.(*net.TCPConn).CloseWrite()
			answer, _ := io.ReadAll(bufio.NewReader(c))
			if strings.Contains(strings.ToLower(string(answer)), "outcome") {
				t.Fatalf("got %s", answer)
			}
		})
	}
}

func TestConnectionsToAnEndpointAreKept(t *testing.T) {
	var mu sync.Mutex
	opened := 0
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	endpoint.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			mu.Lock()
			opened++
			mu.Unlock()
		}
	}
	endpoint.Start()
	t.Cleanup(endpoint.Close)
	b := newBench(t)
	for range 50 {
		b.call(endpoint.URL)
	}
	mu.Lock()
	defer mu.Unlock()
	if opened > 2 {
		t.Fatalf("%d connections for 50 calls in a row", opened)
	}
}

// The transport sends a call again only if nothing of it was written and it can have the body once more.
func TestASmallBodyCanBeSentOnAnotherConnection(t *testing.T) {
	for length, again := range map[int64]bool{1: true, maxBuffered: true, maxBuffered + 1: false, -1: false} {
		request := &http.Request{}
		if err := setBody(request, length, &inbound{from: bytes.NewReader(make([]byte, maxBuffered+1))}); err != nil {
			t.Fatal(err)
		}
		if got := request.GetBody != nil; got != again || request.ContentLength != length {
			t.Errorf("%d bytes: again %t, length %d", length, got, request.ContentLength)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	endpoint := serve(b, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	e := newBench(b)
	e.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	body := make([]byte, 1000)
	run := func(b *testing.B, once func()) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				once()
			}
		})
	}
	b.Run("direct", func(b *testing.B) {
		run(b, func() {
			resp, err := e.client.Post(endpoint.URL, "application/json", bytes.NewReader(body))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		})
	})
	b.Run("egress", func(b *testing.B) {
		run(b, func() {
			if res := e.post(e.pass(endpoint.URL, 0), bytes.NewReader(body)); res.outcome != contract.OutcomeResponse {
				b.Fatalf("got %+v", res)
			}
		})
	})
}
