package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Audience is what the tokens of an Issuer are for, unless a test says otherwise.
const Audience = "webhooks"

// The ids of an Issuer's keys.
const (
	KeyRSA = "rsa-1"
	KeyEC  = "ec-1"
	KeyEd  = "ed-1"
)

// Issuer signs tokens (RFC 7519) and publishes its keys (RFC 7517), for tests of who checks them.
type Issuer struct {
	Name string
	// Fetches counts how often the keys were asked for.
	Fetches atomic.Int64

	server *httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	keys   map[string]crypto.Signer
}

// NewIssuer starts an issuer with one key of each kind. It ends with the test.
func NewIssuer(t testing.TB, name string) *Issuer {
	t.Helper()
	i := &Issuer{Name: name, keys: map[string]crypto.Signer{KeyRSA: newRSA(t), KeyEC: newEC(t), KeyEd: newEd(t)}}
	i.server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.server.Close)
	return i
}

// URL is where the keys are.
func (i *Issuer) URL() string { return i.server.URL + "/jwks.json" }

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.Fetches.Add(1)
	i.mu.Lock()
	answer := i.answer
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_, _ = w.Write([]byte(i.JWKS()))
}

// Answer makes the issuer answer otherwise than with its keys; nil ends that.
func (i *Issuer) Answer(with http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = with
}

// Put publishes a new key under an id and forgets the one that was there.
func (i *Issuer) Put(kid string, key crypto.Signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[kid] = key
}

// Drop unpublishes a key and returns it.
func (i *Issuer) Drop(kid string) crypto.Signer {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := i.keys[kid]
	delete(i.keys, kid)
	return key
}

// Key returns a key by its id.
func (i *Issuer) Key(kid string) crypto.Signer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[kid]
}

// JWKS is the set of the public keys.
func (i *Issuer) JWKS() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := []map[string]any{}
	for kid, key := range i.keys {
		jwk := JWK(key.Public())
		jwk["kid"], jwk["use"] = kid, "sig"
		keys = append(keys, jwk)
	}
	return text(map[string]any{"keys": keys})
}

// JWK is a public key in JSON (RFC 7517 and 7518), without an id.
func JWK(public crypto.PublicKey) map[string]any {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": encoded(k.N.Bytes()), "e": encoded(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, _ := k.Bytes() // a 4, then both coordinates; fails only for a key that is on no curve
		x, y := point[1:len(point)/2+1], point[len(point)/2+1:]
		return map[string]any{"kty": "EC", "crv": k.Curve.Params().Name, "x": encoded(x), "y": encoded(y)}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encoded(k)}
	}
	return nil
}

// Part is a JOSE header or claims. A value of Gone takes the name out.
type Part map[string]any

// Gone takes a name out of a Part.
var Gone any = struct{}{}

// Header is that of a good token for a key.
func Header(kid string) Part {
	alg := map[string]string{KeyRSA: "RS256", KeyEC: "ES256", KeyEd: "EdDSA"}[kid]
	return Part{"alg": alg, "kid": kid, "typ": "JWT"}
}

// Claims are those of a good token for a subject.
func (i *Issuer) Claims(subject string) Part {
	now := time.Now().Unix()
	return Part{"iss": i.Name, "aud": Audience, "sub": subject, "iat": now - 1, "exp": now + 300}
}

// Token signs a token for a subject with one of the keys, with claims changed.
func (i *Issuer) Token(t testing.TB, kid, subject string, changes Part) string {
	t.Helper()
	return Sign(t, i.Key(kid), Header(kid), i.Claims(subject).With(changes))
}

// With returns the part with changes.
func (p Part) With(changes Part) Part {
	out := maps.Clone(p)
	for name, value := range changes {
		if value == Gone {
			delete(out, name)
		} else {
			out[name] = value
		}
	}
	return out
}

// Unsigned is the first two parts of a token.
func Unsigned(header, claims Part) string {
	return encoded([]byte(text(header))) + "." + encoded([]byte(text(claims)))
}

// Sign makes a token, signed by what the header's alg says; key is what golang-jwt takes for that.
func Sign(t testing.TB, key any, header, claims Part) string {
	t.Helper()
	unsigned := Unsigned(header, claims)
	alg, _ := header["alg"].(string)
	return unsigned + "." + encoded(Signature(t, alg, key, unsigned))
}

// Signature signs a text.
func Signature(t testing.TB, alg string, key any, unsigned string) []byte {
	t.Helper()
	signature, err := jwt.GetSigningMethod(alg).Sign(unsigned, key)
	if err != nil {
		t.Fatalf("signing with %s: %v", alg, err)
	}
	return signature
}

func text(v any) string {
	raw, _ := json.Marshal(v) // maps of plain values
	return string(raw)
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// idleRSA are keys that no test uses now: they take long to make.
var idleRSA struct {
	sync.Mutex
	keys []*rsa.PrivateKey
}

// newRSA returns a key that no other test has at the same time.
func newRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	idleRSA.Lock()
	defer idleRSA.Unlock()
	var key *rsa.PrivateKey
	if last := len(idleRSA.keys) - 1; last >= 0 {
		key, idleRSA.keys = idleRSA.keys[last], idleRSA.keys[:last]
	} else {
		key = makeRSA(t)
	}
	t.Cleanup(func() {
		idleRSA.Lock()
		defer idleRSA.Unlock()
		idleRSA.keys = append(idleRSA.keys, key)
	})
	return key
}

func makeRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
