package testkit

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// Hostile is a token that must be refused, and the reason that the log should give.
type Hostile struct{ Name, Token, Reason string }

// HostileTokens are tokens that somebody could try who knows all that is public, beside a good one: for a service that trusts
// two issuers, takes the audience Audience and the claim "scope" for grants with a leeway of 30 s. elsewhere is a URL of the
// attacker's own.
func HostileTokens(t testing.TB, good, other *Issuer, subject, elsewhere string) []Hostile {
	t.Helper()
	h := &hostile{t: t, good: good, subject: subject}
	h.algorithms()
	h.keys(other, elsewhere)
	h.signatures()
	h.headers()
	h.claims()
	h.shapes()
	return h.all
}

type hostile struct {
	t       testing.TB
	good    *Issuer
	subject string
	all     []Hostile
}

func (h *hostile) add(name, reason, token string) {
	h.all = append(h.all, Hostile{name, token, reason})
}

// with adds a token that its own issuer signed with the right key.
func (h *hostile) with(name, reason string, header, claims Part) {
	h.add(name, reason, Sign(h.t, h.good.Key(KeyRSA), Header(KeyRSA).With(header), h.good.Claims(h.subject).With(claims)))
}

func (h *hostile) algorithms() {
	claims, public := h.good.Claims(h.subject), h.good.Key(KeyRSA).Public().(*rsa.PublicKey)
	for _, none := range []string{"none", "None", "NONE", "nOnE", ""} {
		h.add("alg "+none+" without a signature", "wrong_algorithm", Unsigned(Header(KeyRSA).With(Part{"alg": none}), claims)+".")
	}
	token := h.good.Token(h.t, KeyRSA, h.subject, nil)
	h.add("alg none with a good token's signature", "wrong_algorithm",
		Unsigned(Header(KeyRSA).With(Part{"alg": "none"}), claims)+token[strings.LastIndexByte(token, '.'):])
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		h.t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "modulus": public.N.Bytes(),
		"JWKS": []byte(h.good.JWKS()), "empty secret": {},
	} {
		h.add("HS256 with the public key as secret: "+name, "wrong_algorithm", Sign(h.t, secret, Header(KeyRSA).With(Part{"alg": "HS256"}), claims))
	}
	for _, alg := range []string{"RS384", "RS512", "PS256"} {
		h.add(alg+" with the right key", "wrong_algorithm", Sign(h.t, h.good.Key(KeyRSA), Header(KeyRSA).With(Part{"alg": alg}), claims))
	}
	h.add("an alg that does not exist", "wrong_algorithm", Unsigned(Header(KeyRSA).With(Part{"alg": "XS256"}), claims)+".eA")
	h.add("no alg", "wrong_algorithm", Unsigned(Header(KeyRSA).With(Part{"alg": Gone}), claims)+".eA")
	h.add("RS256 under the kid of an EC key", "unknown_key", Sign(h.t, h.good.Key(KeyRSA), Header(KeyRSA).With(Part{"kid": KeyEC}), claims))
	h.add("ES256 under the kid of an RSA key", "unknown_key", Sign(h.t, h.good.Key(KeyEC), Header(KeyEC).With(Part{"kid": KeyRSA}), claims))
}

func (h *hostile) keys(other *Issuer, elsewhere string) {
	claims, own := h.good.Claims(h.subject), newRSA(h.t)
	jwk := JWK(own.Public())
	jwk["kid"] = KeyRSA
	for name, header := range map[string]Part{
		"alone": {}, "in jwk": {"jwk": jwk}, "behind jku": {"jku": elsewhere}, "behind x5u": {"x5u": elsewhere}, "in x5c": {"x5c": []string{"MIIB"}},
	} {
		h.add("a key of one's own, "+name, "bad_signature", Sign(h.t, own, Header(KeyRSA).With(header), claims))
	}
	h.add("an EC key of one's own", "bad_signature", Sign(h.t, newEC(h.t), Header(KeyEC), claims))
	h.add("an Ed25519 key of one's own", "bad_signature", Sign(h.t, newEd(h.t), Header(KeyEd), claims))
	h.add("another issuer's key", "bad_signature", Sign(h.t, other.Key(KeyRSA), Header(KeyRSA), claims))
	h.add("one's own key under its own kid, in jwk", "unknown_key", Sign(h.t, own, Header(KeyRSA).With(Part{"kid": "mine", "jwk": jwk}), claims))
	h.with("no kid, several keys", "unknown_key", Part{"kid": Gone}, nil)
	h.with("a kid that leads to a file", "unknown_key", Part{"kid": "../../../dev/null"}, nil)
	h.with("a kid that leads elsewhere", "unknown_key", Part{"kid": elsewhere}, nil)
	h.with("a kid that is an injection", "unknown_key", Part{"kid": "' OR '1'='1"}, nil)
	h.with("a kid that is a number", "malformed", Part{"kid": 1}, nil)
	h.with("an empty kid", "malformed", Part{"kid": ""}, nil)
}

func (h *hostile) signatures() {
	token := h.good.Token(h.t, KeyRSA, h.subject, nil)
	parts := strings.Split(token, ".")
	richer := strings.Split(Unsigned(Header(KeyRSA), h.good.Claims(h.subject).With(Part{"sub": "somebody-else"})), ".")
	h.add("claims changed after signing", "bad_signature", parts[0]+"."+richer[1]+"."+parts[2])
	header := strings.Split(Unsigned(Header(KeyRSA).With(Part{"x": 1}), Part{}), ".")
	h.add("header changed after signing", "bad_signature", header[0]+"."+parts[1]+"."+parts[2])
	h.add("signature of another token", "bad_signature",
		parts[0]+"."+parts[1]+"."+strings.Split(h.good.Token(h.t, KeyRSA, h.subject, Part{"jti": "2"}), ".")[2])
	h.add("signature cut short", "bad_signature", token[:len(token)-2])
	h.add("no signature", "bad_signature", parts[0]+"."+parts[1]+".")
	unsigned := Unsigned(Header(KeyEC), h.good.Claims(h.subject))
	h.add("an ES256 signature of zeros", "bad_signature", unsigned+"."+encoded(make([]byte, 64)))
	hash := sha256.Sum256([]byte(unsigned))
	der, err := ecdsa.SignASN1(rand.Reader, h.good.Key(KeyEC).(*ecdsa.PrivateKey), hash[:])
	if err != nil {
		h.t.Fatal(err)
	}
	h.add("an ES256 signature in DER", "bad_signature", unsigned+"."+encoded(der))
}

func (h *hostile) headers() {
	h.with("crit with an extension", "critical", Part{"crit": []string{"b64"}, "b64": false}, nil)
	h.with("crit with exp", "critical", Part{"crit": []string{"exp"}, "exp": 1}, nil)
	h.with("an empty crit", "critical", Part{"crit": []string{}}, nil)
	for _, typ := range []any{"logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "", 7} {
		h.with("typ "+strings.Trim(text(typ), `"`), "wrong_type", Part{"typ": typ}, nil)
	}
}

func (h *hostile) claims() {
	now := time.Now().Unix()
	for _, c := range []struct {
		name, reason string
		change       Part
	}{
		{"expired", "expired", Part{"exp": now - 3600}},
		{"expired just beyond the leeway", "expired", Part{"exp": now - 32}},
		{"no exp", "missing_claim", Part{"exp": Gone}},
		{"exp null", "bad_claims", Part{"exp": nil}},
		{"exp as text", "bad_claims", Part{"exp": "2099-01-01"}},
		{"exp below zero", "expired", Part{"exp": -1}},
		{"exp zero", "missing_claim", Part{"exp": 0}},
		{"nbf ahead", "not_yet", Part{"nbf": now + 3600}},
		{"iat ahead", "not_yet", Part{"iat": now + 3600}},
		{"an unknown issuer", "unknown_issuer", Part{"iss": "https://evil.example"}},
		{"the issuer with a slash", "unknown_issuer", Part{"iss": h.good.Name + "/"}},
		{"the issuer in capitals", "unknown_issuer", Part{"iss": strings.ToUpper(h.good.Name)}},
		{"no issuer", "unknown_issuer", Part{"iss": Gone}},
		{"a list of issuers", "unknown_issuer", Part{"iss": []string{h.good.Name}}},
		{"another audience", "wrong_audience", Part{"aud": "billing"}},
		{"a longer audience", "wrong_audience", Part{"aud": Audience + "-admin"}},
		{"us among several audiences", "wrong_audience", Part{"aud": []string{"billing", Audience}}},
		{"us twice", "wrong_audience", Part{"aud": []string{Audience, Audience}}},
		{"no audience", "missing_claim", Part{"aud": Gone}},
		{"an empty list of audiences", "missing_claim", Part{"aud": []string{}}},
		{"an audience that is an object", "missing_claim", Part{"aud": Part{Audience: true}}},
		{"no subject", "no_consumer", Part{"sub": Gone}},
		{"an empty subject", "no_consumer", Part{"sub": ""}},
		{"a subject that is a number", "no_consumer", Part{"sub": 1}},
		{"a subject that is a list", "no_consumer", Part{"sub": []string{h.subject}}},
		{"a very long subject", "no_consumer", Part{"sub": strings.Repeat("x", 201)}},
		{"grants that are an object", "bad_grants", Part{"scope": Part{"orders": "subscribe"}}},
		{"grants that are numbers", "bad_grants", Part{"scope": []int{1}}},
	} {
		h.with(c.name, c.reason, nil, c.change)
	}
}

func (h *hostile) shapes() {
	token := h.good.Token(h.t, KeyRSA, h.subject, nil)
	parts := strings.Split(token, ".")
	padded := base64.URLEncoding.EncodeToString([]byte(text(h.good.Claims(h.subject)) + " "))
	for name, shape := range map[string]string{
		"one part": parts[0], "two parts": parts[0] + "." + parts[1], "four parts": token + ".x", "five parts, as a JWE": token + ".x.y",
		"three dots": "...", "two dots": "..", "only text": "let me in", "not base64": parts[0] + ".&&&." + parts[2],
		"plain base64":      parts[0] + "." + strings.TrimRight(padded, "=") + "==." + parts[2],
		"header is no JSON": encoded([]byte("RS256")) + "." + parts[1] + "." + parts[2],
		"header is a list":  encoded([]byte("[]")) + "." + parts[1] + "." + parts[2],
		"claims are a list": parts[0] + "." + encoded([]byte("[]")) + "." + parts[2],
		"two tokens":        token + "," + token, "a token and a space": token + " x", "JSON serialization": `{"payload":"` + parts[1] + `"}`,
		"an API key": "whk_" + parts[2][:43],
	} {
		h.add(name, "malformed", shape)
	}
	h.with("too long", "too_long", nil, Part{"x": strings.Repeat("x", 4900)})
}
