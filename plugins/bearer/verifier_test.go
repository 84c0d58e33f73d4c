package bearer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

const (
	issuerName = "https://id.example"
	otherName  = "https://other.example"
)

// bench is a verifier that trusts an issuer by its URL.
type bench struct {
	*Verifier
	*testkit.Clock

	issuer  *testkit.Issuer
	issuers *Issuers
	logs    *observer.ObservedLogs
}

func setUp(t testing.TB, more ...IssuerSettings) *bench {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	b := &bench{Clock: testkit.NewClock(time.Now()), issuer: testkit.NewIssuer(t, issuerName), logs: logs}
	b.Verifier = NewVerifier(Options{Now: b.Now, Log: zap.New(core)})
	t.Cleanup(b.Close)
	b.issuers = checked(t, append([]IssuerSettings{{Issuer: issuerName, Audience: testkit.Audience, JWKSURL: b.issuer.URL()}}, more...)...)
	return b
}

func checked(t testing.TB, settings ...IssuerSettings) *Issuers {
	t.Helper()
	issuers, err := (&Settings{settings}).Check()
	if err != nil {
		t.Fatal(err)
	}
	return issuers
}

func (b *bench) token(t testing.TB, changes testkit.Part) string {
	t.Helper()
	return b.issuer.Token(t, testkit.KeyRSA, "acme", changes)
}

// outcome is the consumer of a token, or why there is none.
func (b *bench) outcome(token string) string { return b.outcomeOf(b.issuers, token) }

func (b *bench) outcomeOf(issuers *Issuers, token string) string {
	id, err := b.Verify(ctx, issuers, token)
	var refused *Refused
	switch {
	case err == nil:
		return id.Consumer
	case errors.As(err, &refused):
		return string(refused.Reason)
	case errors.Is(err, ErrNoKeys):
		return "no keys"
	}
	return err.Error()
}

func (b *bench) want(t testing.TB, want, token string) {
	t.Helper()
	if got := b.outcome(token); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestATokenOfEachAlgorithmIsTaken(t *testing.T) {
	b := setUp(t)
	for _, kid := range []string{testkit.KeyRSA, testkit.KeyEC, testkit.KeyEd} {
		for _, typ := range []any{"JWT", "jwt", "at+jwt", "application/at+jwt", testkit.Gone} {
			token := testkit.Sign(t, b.issuer.Key(kid), testkit.Header(kid).With(testkit.Part{"typ": typ}), b.issuer.Claims("acme"))
			b.want(t, "acme", token)
		}
	}
	if n := b.issuer.Fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestHostileTokensAreRefusedForTheRightReason(t *testing.T) {
	other := testkit.NewIssuer(t, otherName)
	elsewhere := testkit.NewIssuer(t, "attacker")
	b := setUp(t, IssuerSettings{Issuer: otherName, Audience: testkit.Audience, JWKS: json.RawMessage(other.JWKS())})
	issuer := *b.issuers.byName[issuerName]
	issuer.grantsClaim = "scope"
	b.issuers.byName[issuerName] = &issuer
	all := testkit.HostileTokens(t, b.issuer, other, "acme", elsewhere.URL())
	for _, h := range all {
		t.Run(h.Name, func(t *testing.T) {
			b.want(t, h.Reason, h.Token)
			b.want(t, h.Reason, h.Token) // not better the second time
		})
	}
	t.Logf("%d hostile tokens", len(all))
	if n := elsewhere.Fetches.Load(); n != 0 {
		t.Errorf("the attacker's keys were fetched %d times", n)
	}
	if n := b.verified.Len(); n != 0 {
		t.Errorf("%d are remembered", n)
	}
	b.want(t, "acme", b.token(t, nil))
}

func TestTheSettingsDecideWhatIsTaken(t *testing.T) {
	both := testkit.Part{"aud": []string{"billing", testkit.Audience}}
	for name, c := range map[string]struct {
		change func(*IssuerSettings)
		claims testkit.Part
		want   string
	}{
		"another claim":          {func(s *IssuerSettings) { s.ConsumerClaim = "client_id" }, testkit.Part{"client_id": "billing"}, "billing"},
		"another claim, missing": {func(s *IssuerSettings) { s.ConsumerClaim = "client_id" }, nil, "no_consumer"},
		"a prefix":               {func(s *IssuerSettings) { s.ConsumerPrefix = "partner/" }, nil, "partner/acme"},
		"only EdDSA":             {func(s *IssuerSettings) { s.Algorithms = []string{"EdDSA"} }, nil, "wrong_algorithm"},
		"other audiences":        {func(s *IssuerSettings) { s.OtherAudiences = true }, both, "acme"},
		"others, not us":         {func(s *IssuerSettings) { s.OtherAudiences = true }, testkit.Part{"aud": []string{"a", "b"}}, "wrong_audience"},
		"within the leeway":      {func(s *IssuerSettings) { s.Leeway = "1m" }, testkit.Part{"exp": time.Now().Unix() - 50}, "acme"},
		"no leeway":              {func(s *IssuerSettings) { s.Leeway = "0s" }, testkit.Part{"exp": time.Now().Unix() - 2}, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setUp(t)
			settings := IssuerSettings{Issuer: issuerName, Audience: testkit.Audience, JWKS: json.RawMessage(b.issuer.JWKS())}
			c.change(&settings)
			if got := b.outcomeOf(checked(t, settings), b.token(t, c.claims)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestATokensGrantsNarrowAndNeverWiden(t *testing.T) {
	b := setUp(t)
	issuers := checked(t, IssuerSettings{Issuer: issuerName, Audience: testkit.Audience, JWKS: json.RawMessage(b.issuer.JWKS()), GrantsClaim: "scope"})
	for name, c := range map[string]struct {
		scope any
		own   []string
		want  string
	}{
		"a text":            {"openid orders:subscribe users:publish", []string{"subscribe", "publish"}, "subscribe"},
		"a list":            {[]string{"orders:publish", "profile"}, []string{"subscribe", "publish"}, "publish"},
		"both":              {"orders:publish orders:subscribe", []string{"subscribe", "publish"}, "subscribe publish"},
		"more than its own": {"orders:publish orders:subscribe", []string{"subscribe"}, "subscribe"},
		"none of its own":   {"orders:publish", nil, ""},
		"another resource":  {"order:subscribe orders2:subscribe", []string{"subscribe"}, ""},
		"wildcards":         {"*:* orders:* *:subscribe orders", []string{"subscribe"}, ""},
		"other separators":  {"orders:subscribe,orders:publish", []string{"subscribe", "publish"}, ""},
		"missing":           {testkit.Gone, []string{"subscribe"}, ""},
		"null":              {nil, []string{"subscribe"}, ""},
		"empty":             {"", []string{"subscribe"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := b.Verify(ctx, issuers, b.token(t, testkit.Part{"scope": c.scope}))
			if got := strings.Join(id.Narrow("orders", c.own), " "); err != nil || got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	if id, err := b.Verify(ctx, b.issuers, b.token(t, nil)); err != nil || len(id.Narrow("orders", []string{"subscribe"})) != 1 {
		t.Errorf("without a claim for it nothing is narrowed: %+v, %v", id, err)
	}
}

func TestACheckedTokenIsRememberedUntilItExpiresOrItsKeysChange(t *testing.T) {
	b := setUp(t)
	token := b.token(t, testkit.Part{"exp": b.Now().Unix() + 10})
	b.want(t, "acme", token)
	b.want(t, "acme", token)
	if n := b.verified.Len(); n != 1 {
		t.Fatalf("%d remembered", n)
	}
	b.Advance(9*time.Second + defaultLeeway)
	b.want(t, "acme", token)
	b.Advance(2 * time.Second)
	b.want(t, "expired", token)
}

func TestATokenIsNotRememberedAcrossSettings(t *testing.T) {
	b := setUp(t)
	b.want(t, "acme", b.token(t, nil))
	narrower := checked(t, IssuerSettings{Issuer: issuerName, Audience: "elsewhere", JWKS: json.RawMessage(b.issuer.JWKS())})
	if got := b.outcomeOf(narrower, b.token(t, nil)); got != "wrong_audience" {
		t.Errorf("got %s", got)
	}
}

func TestAKeyThatIsWithdrawnTakesItsTokensAlong(t *testing.T) {
	b := setUp(t)
	token := b.token(t, nil)
	b.want(t, "acme", token)
	b.issuer.Drop(testkit.KeyRSA)
	b.Advance(fetchEvery)
	b.want(t, "acme", token)                         // not known here yet
	b.want(t, "unknown_key", b.token2(t, "made-up")) // makes it look
	b.want(t, "unknown_key", token)
}

// token2 is signed with an EC key under another kid.
func (b *bench) token2(t testing.TB, kid string) string {
	t.Helper()
	return testkit.Sign(t, b.issuer.Key(testkit.KeyEC), testkit.Header(testkit.KeyEC).With(testkit.Part{"kid": kid}), b.issuer.Claims("acme"))
}

func TestANewKeyIsTakenWithoutARestart(t *testing.T) {
	b := setUp(t)
	b.want(t, "acme", b.token(t, nil))
	b.Advance(fetchEvery)
	b.issuer.Put("ec-2", b.issuer.Drop(testkit.KeyEC))
	token := testkit.Sign(t, b.issuer.Key("ec-2"), testkit.Header(testkit.KeyEC).With(testkit.Part{"kid": "ec-2"}), b.issuer.Claims("acme"))
	b.want(t, "acme", token)
	if n := b.issuer.Fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestAFloodOfMadeUpKidsMakesNoFloodOfFetches(t *testing.T) {
	b := setUp(t)
	good := b.token(t, nil)
	b.want(t, "acme", good)
	b.Advance(fetchEvery)
	var wg sync.WaitGroup
	for i := range 200 {
		token := b.token2(t, fmt.Sprint(i))
		wg.Go(func() { b.want(t, "unknown_key", token) })
	}
	wg.Wait()
	if n := b.issuer.Fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	b.want(t, "acme", good)
}

func TestATokenWithoutKidIsTakenWhereThereIsOneKeyAlone(t *testing.T) {
	b := setUp(t)
	b.issuer.Drop(testkit.KeyEC)
	b.issuer.Drop(testkit.KeyEd)
	b.want(t, "acme", testkit.Sign(t, b.issuer.Key(testkit.KeyRSA), testkit.Header(testkit.KeyRSA).With(testkit.Part{"kid": testkit.Gone}), b.issuer.Claims("acme")))
	b.want(t, "unknown_key", testkit.Sign(t, b.issuer.Key(testkit.KeyRSA), testkit.Header(testkit.KeyRSA).With(testkit.Part{"kid": "x"}), b.issuer.Claims("acme")))
}

// FuzzVerify: no bytes in the place of a token are taken, end the process, or come back in an error.
func FuzzVerify(f *testing.F) {
	b := setUp(f)
	stranger := testkit.NewIssuer(f, issuerName)
	for _, h := range testkit.HostileTokens(f, stranger, stranger, "acme", "http://127.0.0.1:1/") {
		f.Add(h.Token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		id, err := b.Verify(ctx, b.issuers, token)
		if err == nil {
			t.Fatalf("taken as %+v", id)
		}
		if len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Fatalf("the error repeats the token: %v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	unit := setUp(b)
	for _, kid := range []string{testkit.KeyRSA, testkit.KeyEC, testkit.KeyEd} {
		token := unit.issuer.Token(b, kid, "acme", nil)
		b.Run(kid+"/first", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				unit.verified.Purge()
				unit.want(b, "acme", token)
			}
		})
		b.Run(kid+"/again", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := unit.Verify(ctx, unit.issuers, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
