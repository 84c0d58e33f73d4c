package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/pass"
)

// safe is a Certificates with one certificate per subscription, whose name is in its subject.
type safe struct {
	authority *testkit.Authority
	asked     atomic.Int32
	err       error
	mu        sync.Mutex
	made      map[string]*tls.Certificate
}

func (s *safe) ClientCertificate(_ context.Context, subscription, id string) (*tls.Certificate, error) {
	s.asked.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	if id != idOf(subscription) {
		return nil, ErrNoCertificate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[subscription] == nil {
		certificate, key := s.authority.Issue(subscription, nil, nil)
		pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
		if err != nil {
			return nil, err
		}
		s.made[subscription] = &pair
	}
	return s.made[subscription], nil
}

func idOf(subscription string) string { return "id-of-" + subscription }

// knower starts an endpoint that says whom it knows by the client certificate.
func knower(t *testing.T, authority *testkit.Authority, http2 bool, version uint16) *httptest.Server {
	t.Helper()
	endpoint := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", strconv.FormatBool(r.TLS.DidResume)) // one that comes back
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	endpoint.EnableHTTP2, endpoint.TLS, endpoint.Config.ErrorLog = http2, authority.Server(), quiet
	endpoint.TLS.MaxVersion = version
	endpoint.StartTLS()
	t.Cleanup(endpoint.Close)
	return endpoint
}

func newSafe(t *testing.T) *safe {
	t.Helper()
	return &safe{authority: testkit.NewAuthority(t), made: map[string]*tls.Certificate{}}
}

func (s *safe) bench(t *testing.T) *bench {
	t.Helper()
	return newBench(t, func(o *Options) { o.Roots, o.Certificates = s.authority.Pool(), s })
}

// callAs makes a call with the certificate of a subscription.
func (b *bench) callAs(target, subscription string) result {
	b.t.Helper()
	return b.post(b.issue(pass.Grant{
		Target: parse(b.t, target), Timeouts: contract.Timeouts{Total: contract.Duration(5 * time.Second)}, Subscription: subscription, Certificate: idOf(subscription),
	}), bytes.NewReader([]byte(`{}`)))
}

// Kept connections, HTTP/2 and resumed sessions would all carry an identity over.
func TestEachSubscriptionIsKnownByItsOwnCertificate(t *testing.T) {
	for name, c := range map[string]struct {
		http2   bool
		version uint16
	}{"HTTP/1, TLS 1.2": {false, tls.VersionTLS12}, "HTTP/1, TLS 1.3": {false, tls.VersionTLS13}, "HTTP/2": {true, tls.VersionTLS13}} {
		t.Run(name, func(t *testing.T) {
			s := newSafe(t)
			endpoint, b := knower(t, s.authority, c.http2, c.version), s.bench(t)
			for range 3 {
				for _, subscription := range []string{"sub_1", "sub_2"} {
					if res := b.callAs(endpoint.URL, subscription); res.outcome != contract.OutcomeResponse || string(res.body) != subscription {
						t.Fatalf("%s is known as %s (%s %s)", subscription, res.body, res.outcome, res.detail)
					}
				}
			}
			if n := s.asked.Load(); n != 2 {
				t.Errorf("%d certificates were read", n)
			}
		})
	}
}

func TestASessionIsResumedWithItsOwnCertificateOnly(t *testing.T) {
	s := newSafe(t)
	endpoint, b := knower(t, s.authority, false, tls.VersionTLS12), s.bench(t)
	endpoint.Config.SetKeepAlivesEnabled(false) // each call has a handshake
	for _, resumed := range []string{"false", "true"} {
		for _, subscription := range []string{"sub_1", "sub_2"} {
			if res := b.callAs(endpoint.URL, subscription); string(res.body) != subscription || res.header.Get("Retry-After") != resumed {
				t.Fatalf("%s is known as %s, resumed: %s (%s %s)", subscription, res.body, res.header.Get("Retry-After"), res.outcome, res.detail)
			}
		}
	}
}

func TestWithoutACertificateNoneIsShown(t *testing.T) {
	s := newSafe(t)
	endpoint, b := knower(t, s.authority, false, tls.VersionTLS12), s.bench(t)
	if res := b.callAs(endpoint.URL, "sub_1"); string(res.body) != "sub_1" {
		t.Fatalf("got %+v", res)
	}
	b.call(endpoint.URL).wantFailure(t, contract.OutcomeTLS, contract.DetailHandshakeRefused)
}

func TestACertificateThatCanNotBeUsedStopsTheCall(t *testing.T) {
	endpoint := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the endpoint was called") })
	s := newSafe(t)
	for name, c := range map[string]struct {
		target string
		err    error
		want   contract.Outcome
		detail contract.Detail
	}{
		"no such certificate": {"https" + strings.TrimPrefix(endpoint.URL, "http"), ErrNoCertificate, contract.OutcomeTLS, contract.DetailClientCertificate},
		"Redis is away":       {"https" + strings.TrimPrefix(endpoint.URL, "http"), errors.New("connection refused"), contract.OutcomeOverloaded, ""},
		"plain http":          {endpoint.URL, nil, contract.OutcomeTLS, contract.DetailClientCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			s.err = c.err
			s.bench(t).callAs(c.target, "sub_1").wantFailure(t, c.want, c.detail)
		})
	}
	b := newBench(t)
	b.callAs("https://127.0.0.1:9/", "sub_1").wantFailure(t, contract.OutcomeTLS, contract.DetailClientCertificate)
}

func TestManyCallsAtOnceReadACertificateOnce(t *testing.T) {
	s := newSafe(t)
	endpoint, b := knower(t, s.authority, false, tls.VersionTLS13), s.bench(t)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			if res := b.callAs(endpoint.URL, "sub_1"); string(res.body) != "sub_1" {
				t.Errorf("got %+v", res)
			}
		})
	}
	calls.Wait()
	if n := len(s.made); n != 1 || b.egress.clients.kept.Len() != 1 {
		t.Errorf("%d certificates, %d kept", n, b.egress.clients.kept.Len())
	}
}
