package contract

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

const key = "a-key-of-the-tests-0123456789-abcdefgh"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

var anyCaller = Caller{Consumer: "con_1", Resource: "orders", Action: ActionSubscribe, Method: "POST", Path: "/orders/subscribe"}

func signerAt(t testing.TB, key string, at time.Time) *Signer {
	t.Helper()
	s, err := NewSigner([]byte(key), func() time.Time { return at })
	require.NoError(t, err)
	return s
}

func TestShortKeysAreRefused(t *testing.T) {
	for _, n := range []int{0, 1, 31} {
		_, err := NewSigner([]byte(strings.Repeat("k", n)), time.Now)
		require.ErrorContains(t, err, "32")
		require.NotContains(t, err.Error(), "kkk")
	}
	_, err := NewSigner([]byte(strings.Repeat("k", 32)), time.Now)
	require.NoError(t, err)
}

func TestStatements(t *testing.T) {
	s := signerAt(t, key, now)
	caller := anyCaller
	caller.From, caller.Key, caller.Until = "203.0.113.7", "key_1", time.Unix(1_900_000_000, 0)
	token, err := s.SignCaller(caller)
	require.NoError(t, err)
	got, err := s.VerifyCaller(token)
	require.NoError(t, err)
	require.NotEmpty(t, got.Statement)
	caller.Statement = got.Statement
	require.Equal(t, caller, got)

	callback := Callback{Target: "https://consumer.example/h?a=b", Subscription: "sub_1", Delivery: "dlv_1", Certificate: "cert_1", Timeouts: Timeouts{Total: Duration(1500 * time.Millisecond), Connect: Duration(time.Second), Header: Duration(1200 * time.Millisecond)}}
	token, err = s.SignCallback(callback)
	require.NoError(t, err)
	gotCallback, err := s.VerifyCallback(token)
	require.NoError(t, err)
	require.NotEmpty(t, gotCallback.Statement)
	callback.Statement = gotCallback.Statement
	require.Equal(t, callback, gotCallback)
}

func TestOnlyAStatementForAnybodyNamesNobody(t *testing.T) {
	s := signerAt(t, key, now)
	for _, c := range []struct {
		consumer, action string
		ok               bool
	}{{"", ActionPublic, true}, {"con_1", ActionSubscribe, true}, {"", ActionSubscribe, false}, {"con_1", ActionPublic, false}} {
		caller := anyCaller
		caller.Consumer, caller.Action = c.consumer, c.action
		token, err := s.SignCaller(caller)
		require.NoError(t, err)
		_, err = s.VerifyCaller(token)
		require.Equal(t, c.ok, err == nil, "%+v: %v", c, err)
	}
}

func TestAStatementHoldsForItsLifeAndNotForLonger(t *testing.T) {
	caller, err := signerAt(t, key, now).SignCaller(anyCaller)
	require.NoError(t, err)
	callback, err := signerAt(t, key, now).SignCallback(Callback{Target: "https://x.example/", Subscription: "sub_1", Delivery: "dlv_1"})
	require.NoError(t, err)
	for life, verify := range map[time.Duration]func(*Signer) error{
		CallerLife:   func(s *Signer) error { _, err := s.VerifyCaller(caller); return err },
		CallbackLife: func(s *Signer) error { _, err := s.VerifyCallback(callback); return err },
	} {
		for offset, ok := range map[time.Duration]bool{
			-StatementLeeway - time.Second: false, -StatementLeeway + time.Second: true, 0: true, life + StatementLeeway - time.Second: true,
			life + StatementLeeway + time.Second: false, time.Hour: false,
		} {
			err := verify(signerAt(t, key, now.Add(offset)))
			require.Equal(t, ok, err == nil, "%v: %v", offset, err)
		}
	}
}

func TestEachStatementHasAnIDOfItsOwn(t *testing.T) {
	s := signerAt(t, key, now)
	seen := map[string]bool{}
	for range 10 {
		token, err := s.SignCallback(Callback{Target: "https://x.example/", Subscription: "sub_1", Delivery: "dlv_1"})
		require.NoError(t, err)
		callback, err := s.VerifyCallback(token)
		require.NoError(t, err)
		seen[callback.Statement] = true
	}
	require.Len(t, seen, 10)
}

func TestRefusedStatements(t *testing.T) {
	s := signerAt(t, key, now)
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"iss": issuerGateway, "aud": audienceSubscription, "sub": "con_1", "resource": "orders", "action": "subscribe",
			"method": "POST", "path": "/orders/subscribe", "jti": "st_1", "iat": now.Unix(), "exp": now.Add(CallerLife).Unix()}
		change(c)
		return c
	}
	with := func(field string, value any) jwt.MapClaims {
		return claims(func(c jwt.MapClaims) {
			if value == nil {
				delete(c, field)
			} else {
				c[field] = value
			}
		})
	}
	signAs := func(id any, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
		unsigned := jwt.NewWithClaims(method, c)
		if id != nil {
			unsigned.Header["kid"] = id
		}
		token, err := unsigned.SignedString(key)
		require.NoError(t, err)
		return token
	}
	ourID := newSigningKey([]byte(key)).id
	sign := func(method jwt.SigningMethod, key any, c jwt.MapClaims) string { return signAs(ourID, method, key, c) }
	hs256 := func(c jwt.MapClaims) string { return sign(jwt.SigningMethodHS256, []byte(key), c) }
	good := hs256(claims(func(jwt.MapClaims) {}))
	critical := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(func(jwt.MapClaims) {}))
	critical.Header["kid"], critical.Header["crit"] = ourID, []string{"exp"}
	more, err := critical.SignedString([]byte(key))
	require.NoError(t, err)
	_, err = s.VerifyCaller(good)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	callback, err := s.SignCallback(Callback{Target: "https://x.example/", Subscription: "sub_1", Delivery: "dlv_1"})
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	swapped := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"con_2","resource":"orders","action":"subscribe","aud":"subscription-service"}`))

	for name, token := range map[string]string{
		"empty":                "",
		"dots":                 "..",
		"no base64":            "*.*.*",
		"tampered signature":   parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])),
		"no signature":         parts[0] + "." + parts[1] + ".",
		"other claims":         parts[0] + "." + swapped + "." + parts[2],
		"more parts":           good + ".x",
		"white space":          good + " ",
		"another key":          sign(jwt.SigningMethodHS256, []byte(key+"x"), claims(func(jwt.MapClaims) {})),
		"alg none":             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(func(jwt.MapClaims) {})),
		"HS512":                sign(jwt.SigningMethodHS512, []byte(key), claims(func(jwt.MapClaims) {})),
		"RS256":                sign(jwt.SigningMethodRS256, rsaKey, claims(func(jwt.MapClaims) {})),
		"no expiry":            hs256(with("exp", nil)),
		"expired":              hs256(with("exp", now.Add(-10*time.Second).Unix())),
		"issued in the future": hs256(with("iat", now.Add(time.Minute).Unix())),
		"not yet":              hs256(with("nbf", now.Add(time.Minute).Unix())),
		"another audience":     hs256(with("aud", audienceCallback)),
		"no audience":          hs256(with("aud", nil)),
		"another issuer":       hs256(with("iss", issuerCallback)),
		"no issuer":            hs256(with("iss", nil)),
		"no consumer":          hs256(with("sub", nil)),
		"no resource":          hs256(with("resource", nil)),
		"no action":            hs256(with("action", "")),
		"resource a list":      hs256(with("resource", []string{"orders"})),
		"no method":            hs256(with("method", nil)),
		"no path":              hs256(with("path", "")),
		"no id":                hs256(with("jti", nil)),
		"no time of issue":     hs256(with("iat", nil)),
		"a life too long":      hs256(with("exp", now.Add(CallerLife+time.Second).Unix())),
		"a header with more":   more,
		"no key id":            signAs(nil, jwt.SigningMethodHS256, []byte(key), claims(func(jwt.MapClaims) {})),
		"an unknown key id":    signAs("0123456789abcdef", jwt.SigningMethodHS256, []byte(key), claims(func(jwt.MapClaims) {})),
		"a key id of no text":  signAs([]string{ourID}, jwt.SigningMethodHS256, []byte(key), claims(func(jwt.MapClaims) {})),
		"a callback's":         callback,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.VerifyCaller(token)
			require.ErrorIs(t, err, ErrStatement)
			if len(token) > 10 {
				require.NotContains(t, err.Error(), token)
			}
			_, err = s.VerifyCallback(good)
			require.ErrorIs(t, err, ErrStatement, "nor is a caller's statement one for a callback")
		})
	}
	for name, c := range map[string]Callback{
		"no target": {Subscription: "s", Delivery: "d"}, "no subscription": {Target: "t", Delivery: "d"}, "no delivery": {Target: "t", Subscription: "s"},
		"another method":   {Method: "DELETE", Target: "t", Subscription: "s", Delivery: "d"},
		"a lower-case one": {Method: "options", Target: "t", Subscription: "s", Delivery: "d"},
		"negative timeout": {Target: "t", Subscription: "s", Delivery: "d", Timeouts: Timeouts{Total: Duration(-time.Second)}},
	} {
		token, err := s.SignCallback(c)
		require.NoError(t, err)
		_, err = s.VerifyCallback(token)
		require.ErrorIs(t, err, ErrStatement, name)
	}
}

func FuzzVerifyCaller(f *testing.F) {
	s := signerAt(f, key, now)
	good, err := s.SignCaller(anyCaller)
	require.NoError(f, err)
	want, err := s.VerifyCaller(good)
	require.NoError(f, err)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		caller, err := s.VerifyCaller(token)
		want.Statement = caller.Statement // each process of the fuzzer has signed one of its own
		switch {
		case err != nil && !errors.Is(err, ErrStatement):
			t.Fatalf("%v is not ErrStatement", err)
		case err == nil && caller != want:
			t.Fatalf("a statement that nobody signed: %q", token)
		}
	})
}

func BenchmarkStatement(b *testing.B) {
	s := signerAt(b, key, now)
	callback := Callback{Target: "https://consumer.example/hooks?a=b", Subscription: "sub_0123456789", Delivery: "dlv_0123456789", Timeouts: Timeouts{Total: Duration(15 * time.Second)}}
	token, err := s.SignCallback(callback)
	require.NoError(b, err)
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.SignCallback(callback)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = s.VerifyCallback(token)
		}
	})
}
