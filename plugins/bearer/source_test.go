package bearer

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// later runs a check until it holds: keys are renewed beside the calls.
func later(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}

func TestFreshKeysAreUsedWithoutAsking(t *testing.T) {
	b := setUp(t)
	b.want(t, "acme", b.token(t, nil))
	b.Advance(freshFor - 1)
	b.want(t, "acme", b.token(t, testkit.Part{"exp": b.Now().Unix() + 60, "jti": "2"}))
	if n := b.issuer.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestKeysAreRenewedBesideTheCalls(t *testing.T) {
	b := setUp(t)
	b.want(t, "acme", b.token(t, nil))
	b.Advance(freshFor)
	b.want(t, "acme", b.token(t, testkit.Part{"exp": b.Now().Unix() + 60}))
	later(t, "a second fetch", func() bool { return b.issuer.Fetches.Load() == 2 })
}

// What was checked with a set of keys holds while that set does.
func TestKeysThatDidNotChangeStayTheSameSet(t *testing.T) {
	b := setUp(t)
	same, source := b.issuer.JWKS(), b.sources.of(b.issuer.URL())
	b.issuer.Answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(same)) })
	before, err := source.current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.Advance(renewBy)
	if after, err := source.current(ctx); err != nil || after != before || b.issuer.Fetches.Load() != 2 {
		t.Errorf("another set, %v, after %d fetches", err, b.issuer.Fetches.Load())
	}
}

func TestOldKeysWaitForTheirRenewal(t *testing.T) {
	b := setUp(t)
	token := b.token(t, testkit.Part{"exp": b.Now().Unix() + 7200})
	b.want(t, "acme", token)
	b.issuer.Drop(testkit.KeyRSA)
	b.Advance(renewBy)
	b.want(t, "unknown_key", token)
}

func TestAFailedRenewalKeepsTheKeysForABoundedTime(t *testing.T) {
	b := setUp(t)
	token := func(jti string) string {
		return b.token(t, testkit.Part{"exp": b.Now().Unix() + 60, "iat": b.Now().Unix(), "jti": jti})
	}
	b.want(t, "acme", token("1"))
	b.issuer.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	b.Advance(keepFor - time.Second)
	b.want(t, "acme", token("2"))
	b.want(t, "no keys", b.token2(t, "new"))
	b.Advance(time.Second)
	b.want(t, "no keys", token("3"))
	b.issuer.Answer(nil)
	b.want(t, "no keys", token("3")) // too early for another try
	b.Advance(fetchEvery)
	b.want(t, "acme", token("3"))
}

func TestWithoutKeysATokenCannotBeJudged(t *testing.T) {
	second := httptest.NewServer(http.NotFoundHandler())
	defer second.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"an error":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"not found":    http.NotFound,
		"no content":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"a redirect":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, second.URL, http.StatusFound) },
		"HTML":         func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"an empty set": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"no usable key": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"eA"}]}`))
		},
		"too many bytes": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxKeySet+1)) },
		"a break": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"keys":[`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := setUp(t)
			b.issuer.Answer(answer)
			b.want(t, "no keys", b.token(t, nil))
			b.want(t, "no keys", b.token(t, nil))
			if n := b.issuer.Fetches.Load(); n != 1 {
				t.Errorf("%d fetches", n)
			}
			if logged := b.logs.FilterMessageSnippet("cannot be fetched").Len(); logged != 1 {
				t.Errorf("logged %d times", logged)
			}
		})
	}
}

func TestAFetchFollowsNoRedirect(t *testing.T) {
	b, elsewhere := setUp(t), testkit.NewIssuer(t, issuerName)
	b.issuer.Answer(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL(), http.StatusFound) })
	b.want(t, "no keys", elsewhere.Token(t, testkit.KeyRSA, "acme", nil))
	if n := elsewhere.Fetches.Load(); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

func TestAnIssuerWithACertificateOfNobodyTrustedIsNotBelieved(t *testing.T) {
	b, stranger := setUp(t), testkit.NewIssuer(t, issuerName)
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(stranger.JWKS())) }))
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0)
	impostor.StartTLS()
	defer impostor.Close()
	issuers := checked(t, IssuerSettings{Issuer: issuerName, Audience: testkit.Audience, JWKSURL: impostor.URL})
	if got := b.outcomeOf(issuers, stranger.Token(t, testkit.KeyEd, "acme", nil)); got != "no keys" {
		t.Errorf("got %s", got)
	}
}

func TestSettingsThatAreReadAgainFetchNoKeysAgain(t *testing.T) {
	b := setUp(t)
	for range 20 {
		again := checked(t, IssuerSettings{Issuer: issuerName, Audience: testkit.Audience, JWKSURL: b.issuer.URL()})
		if err := b.Adopt(again); err != nil {
			t.Fatal(err)
		}
		if got := b.outcomeOf(again, b.token(t, nil)); got != "acme" {
			t.Fatalf("got %s", got)
		}
	}
	if n := b.issuer.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// silent is a transport that never answers.
type silent struct{}

func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestASilentIssuerHoldsACallUpForABoundedTimeAndTheNextOneNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSources(time.Now, zap.NewNop(), newCounts())
		p.client = &http.Client{Transport: silent{}}
		defer p.close()
		began := time.Now()
		if _, err := p.of("https://id.example/").current(ctx); err == nil || time.Since(began) != fetchTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		began = time.Now()
		if _, err := p.of("https://id.example/").current(ctx); err == nil || time.Since(began) != 0 {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestACallThatEndsWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSources(time.Now, zap.NewNop(), newCounts())
		p.client = &http.Client{Transport: silent{}}
		defer p.close()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		began := time.Now()
		if _, err := p.of("https://id.example/").current(short); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestClosingEndsAFetchUnderWayAndStartsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSources(time.Now, zap.NewNop(), newCounts())
		p.client = &http.Client{Transport: silent{}}
		flight := p.of("https://id.example/").renew()
		synctest.Wait()
		began := time.Now()
		p.close()
		if <-flight; time.Since(began) != 0 {
			t.Errorf("after %s", time.Since(began))
		}
		if p.of("https://other.example/").renew() != nil {
			t.Error("a fetch after the end")
		}
	})
}

func TestAdoptingFetchesAheadAndRefusesPlainHTTPFromElsewhere(t *testing.T) {
	b := setUp(t)
	if err := b.Adopt(b.issuers); err != nil {
		t.Fatal(err)
	}
	later(t, "a fetch ahead", func() bool { return b.issuer.Fetches.Load() == 1 })
	far := checked(t, IssuerSettings{Issuer: "i", Audience: "a", JWKSURL: "http://192.0.2.1/jwks.json"})
	if err := b.Adopt(far); err == nil || !strings.Contains(err.Error(), "jwks_url") {
		t.Errorf("got %v", err)
	}
	for address, want := range map[string]bool{
		"http://127.0.0.1:8/": false, "http://[::1]/": false, "http://localhost/": false, "https://id.example/": false,
		"http://id.example/": true, "http://10.0.0.1/": true, "http://localhost.example/": true, "http://127.0.0.1.example/": true,
	} {
		if plain(address) != want {
			t.Errorf("%s: %t", address, !want)
		}
	}
}

func TestOnlyPublicKeysForSignaturesAreUsed(t *testing.T) {
	with := func(jwk map[string]any, changes testkit.Part) string {
		raw, _ := json.Marshal(testkit.Part(jwk).With(changes))
		return string(raw)
	}
	issuer := testkit.NewIssuer(t, issuerName)
	public := func(kid string) map[string]any { return testkit.JWK(issuer.Key(kid).Public()) }
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ jwk, fault string }{
		"RSA":                {with(public(testkit.KeyRSA), nil), ""},
		"for signatures":     {with(public(testkit.KeyRSA), testkit.Part{"use": "sig", "alg": "RS256", "key_ops": []string{"verify"}}), ""},
		"Ed25519 by name":    {with(public(testkit.KeyEd), testkit.Part{"alg": "Ed25519"}), ""},
		"with a certificate": {with(public(testkit.KeyEC), testkit.Part{"x5u": "http://192.0.2.1/", "x5c": []string{"MIIB"}, "x5t": "x"}), ""},
		"for encryption":     {with(public(testkit.KeyRSA), testkit.Part{"use": "enc"}), "is not for signatures"},
		"to wrap":            {with(public(testkit.KeyRSA), testkit.Part{"key_ops": []string{"wrapKey"}}), "is not for signatures"},
		"for PS256":          {with(public(testkit.KeyRSA), testkit.Part{"alg": "PS256"}), "is not for signatures"},
		"P-384":              {with(public(testkit.KeyEC), testkit.Part{"crv": "P-384"}), "is not for signatures"},
		"a weak key":         {with(testkit.JWK(weak.Public()), nil), "is an RSA key"},
		"exponent one":       {with(public(testkit.KeyRSA), testkit.Part{"e": "AQ"}), "is damaged"},
		"off the curve":      {with(public(testkit.KeyEC), testkit.Part{"x": "AQ"}), "is damaged"},
		"short":              {with(public(testkit.KeyEd), testkit.Part{"x": "AQ"}), "is damaged"},
		"symmetric":          {`{"kty":"oct","k":"hunter2"}`, "is a secret key"},
		"private":            {with(public(testkit.KeyEC), testkit.Part{"d": "hunter2"}), "is a secret key"},
		"of no kind":         {`{"kty":"hunter2"}`, "is not for signatures"},
		"no object":          {`"hunter2"`, "is no JWK"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := inlineKeys([]byte(`{"keys":[` + c.jwk + `]}`))
			if c.fault == "" && err == nil {
				return
			}
			if err == nil || c.fault == "" || !strings.HasPrefix(err.Error(), ".keys[0] "+c.fault) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOneBadKeyDoesNotSpoilAPublishedSet(t *testing.T) {
	b := setUp(t)
	b.issuer.Answer(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Replace(b.issuer.JWKS(), `"keys":[`, `"keys":[{"kty":"oct","k":"eA"},7,`, 1)))
	})
	b.want(t, "acme", b.token(t, nil))
	if n := b.logs.FilterMessageSnippet("is not used").Len(); n != 2 {
		t.Errorf("%d of two bad keys are logged", n)
	}
}

// FuzzParseKeys: no set of keys ends the process, and what is taken of one is usable.
func FuzzParseKeys(f *testing.F) {
	f.Add([]byte(testkit.NewIssuer(f, issuerName).JWKS()))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"},{"kty":"RSA","n":"AQ","e":"AQ"},{"kty":"OKP","crv":"Ed25519","x":""}]}`))
	f.Add([]byte(`{"keys":[null,1,"x",[],{}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, _, err := parseKeys(raw)
		if (set == nil) == (err == nil) {
			t.Fatalf("both or neither: %v, %v", set, err)
		}
		for i := range maxKeys {
			if set == nil || i >= len(set.keys) {
				return
			}
			if k := set.keys[i]; k.public == nil || k.algorithm == "" {
				t.Fatalf("unusable: %+v", k)
			}
		}
	})
}
