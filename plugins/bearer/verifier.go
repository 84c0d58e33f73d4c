package bearer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"
)

const (
	// MaxToken is the longest token that is looked at, in bytes.
	MaxToken = 6 << 10
	// maxConsumer bounds the name of a consumer in a token, in bytes.
	maxConsumer = 200
	// maxRemembered bounds the remembered tokens, rememberFor how long one is.
	maxRemembered = 16384
	rememberFor   = time.Minute
)

// Options of a Verifier.
type Options struct {
	// AllowHTTP lets keys come over http from other machines than this one.
	AllowHTTP bool
	// Now is the clock, time.Now in production.
	Now func() time.Time
	Log *zap.Logger
}

// Verifier checks tokens. There is one per process: it keeps the issuers' keys and remembers what it checked. It is safe for
// concurrent use.
type Verifier struct {
	allowHTTP bool
	now       func() time.Time
	sources   *sources
	verified  *lru.Cache[[sha256.Size]byte, verified]
	parser    *jwt.Parser
	counts    *counts
}

// verified is a token whose signature and claims were good: with these settings, these keys, until then.
type verified struct {
	issuers  *Issuers
	issuer   *issuer
	keys     *keySet
	until    time.Time
	identity Identity
}

// NewVerifier makes a verifier. Close ends it.
func NewVerifier(o Options) *Verifier {
	cache, err := lru.New[[sha256.Size]byte, verified](maxRemembered)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	c := newCounts()
	return &Verifier{
		allowHTTP: o.AllowHTTP, now: o.Now, sources: newSources(o.Now, o.Log, c), verified: cache, counts: c,
		parser: jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
	}
}

// Close ends the fetching of keys and waits for it.
func (v *Verifier) Close() { v.sources.close() }

// Adopt takes settings into use, so that the first call need not wait for keys. Its error names the field and the fix.
func (v *Verifier) Adopt(issuers *Issuers) error {
	for _, i := range issuers.byName {
		if i.url != "" && plain(i.url) && !v.allowHTTP {
			return errors.New("jwks_url is plain http to another machine: use https, or set WEBHOOK_ALLOW_HTTP=true")
		}
	}
	for _, i := range issuers.byName {
		if i.url != "" {
			_ = v.sources.of(i.url).renew() // nobody waits
		}
	}
	return nil
}

// Verify tells who a token speaks for. Its error is a *Refused, or wraps ErrNoKeys if the token cannot be judged now. It never
// holds anything of the token.
func (v *Verifier) Verify(ctx context.Context, issuers *Issuers, token string) (Identity, error) {
	if len(token) > MaxToken {
		v.counts.verified(&Refused{TooLong})
		return Identity{}, refuse(TooLong)
	}
	hash := sha256.Sum256([]byte(token))
	if known, ok := v.verified.Get(hash); ok && v.holds(ctx, known, issuers) {
		v.counts.remembered.Inc()
		return known.identity, nil
	}
	found, err := v.check(ctx, issuers, token)
	v.counts.verified(err)
	if err != nil {
		return Identity{}, err // not remembered: a flood of made-up tokens pushes nobody's out
	}
	v.verified.Add(hash, found)
	return found.identity, nil
}

// holds reports whether what was found about a token is still so.
func (v *Verifier) holds(ctx context.Context, known verified, issuers *Issuers) bool {
	if known.issuers != issuers || !v.now().Before(known.until) {
		return false
	}
	keys, err := v.keys(ctx, known.issuer)
	return err == nil && keys == known.keys
}

func (v *Verifier) keys(ctx context.Context, i *issuer) (*keySet, error) {
	if i.keys != nil {
		return i.keys, nil
	}
	return v.sources.of(i.url).current(ctx)
}

func (v *Verifier) find(ctx context.Context, i *issuer, algorithm, kid string) (*keySet, []key, error) {
	if i.keys != nil {
		return i.keys, i.keys.find(algorithm, kid), nil
	}
	return v.sources.of(i.url).find(ctx, algorithm, kid)
}

// check is the whole way of a token: header, issuer, key, signature, claims.
func (v *Verifier) check(ctx context.Context, issuers *Issuers, token string) (verified, error) {
	found := verified{issuers: issuers}
	claims := jwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		var keys jwt.VerificationKeySet
		var err error
		found.issuer, found.keys, keys, err = v.keysFor(ctx, issuers, t)
		return keys, err
	})
	if found.issuer == nil && errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return verified{}, refuse(WrongAlgorithm) // the parser did not even ask for a key
	}
	if err != nil {
		return verified{}, fault(err)
	}
	if err := v.checkClaims(found.issuer, claims); err != nil {
		return verified{}, fault(err)
	}
	if found.identity, err = found.issuer.identity(claims); err != nil {
		return verified{}, err
	}
	found.identity.Expires = expiry(found.issuer, claims)
	found.until = v.until(found.identity.Expires)
	return found, nil
}

// keysFor chooses the keys by the settings. Of the header only alg and kid have a say, and only among the issuer's own.
func (v *Verifier) keysFor(ctx context.Context, issuers *Issuers, t *jwt.Token) (*issuer, *keySet, jwt.VerificationKeySet, error) {
	var out jwt.VerificationKeySet
	kid, err := checkHeader(t.Header)
	if err != nil {
		return nil, nil, out, err
	}
	name, _ := t.Claims.(jwt.MapClaims)["iss"].(string)
	i := issuers.byName[name]
	if i == nil {
		return nil, nil, out, refuse(UnknownIssuer)
	}
	if !slices.Contains(i.algorithms, t.Method.Alg()) {
		return nil, nil, out, refuse(WrongAlgorithm)
	}
	set, found, err := v.find(ctx, i, t.Method.Alg(), kid)
	if err != nil {
		return nil, nil, out, err
	}
	if len(found) == 0 {
		return nil, nil, out, refuse(UnknownKey)
	}
	for _, k := range found {
		out.Keys = append(out.Keys, k.public)
	}
	return i, set, out, nil
}

// checkHeader refuses tokens of another kind, such as ones to log somebody out with, and extensions that we would not heed
// (RFC 7515, section 4.1.11). It returns the kid, "" if there is none.
func checkHeader(header map[string]any) (kid string, err error) {
	if _, critical := header["crit"]; critical {
		return "", refuse(Critical)
	}
	if typ, present := header["typ"]; present {
		text, _ := typ.(string)
		switch strings.TrimPrefix(strings.ToLower(text), "application/") {
		case "jwt", "at+jwt":
		default:
			return "", refuse(WrongType)
		}
	}
	value, present := header["kid"]
	kid, isText := value.(string)
	if present && (!isText || kid == "") {
		return "", refuse(Malformed)
	}
	return kid, nil
}

// checkClaims checks the registered claims (RFC 7519, section 4.1; RFC 9068, section 4).
func (v *Verifier) checkClaims(i *issuer, claims jwt.MapClaims) error {
	err := jwt.NewValidator(jwt.WithTimeFunc(v.now), jwt.WithLeeway(i.leeway), jwt.WithIssuedAt(), jwt.WithExpirationRequired(),
		jwt.WithIssuer(i.name), jwt.WithAudience(i.audience)).Validate(claims)
	if err != nil {
		return fmt.Errorf("checking claims: %w", err)
	}
	if audiences, _ := claims.GetAudience(); len(audiences) != 1 && !i.severalAudiencesAllowed {
		return refuse(WrongAudience)
	}
	return nil
}

// expiry is when a token ends whose claims were checked.
func expiry(i *issuer, claims jwt.MapClaims) time.Time {
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return time.Time{} // refused by checkClaims
	}
	return expires.Add(i.leeway)
}

func (v *Verifier) until(expires time.Time) time.Time {
	until := v.now().Add(rememberFor)
	if expires.Before(until) {
		until = expires
	}
	return until
}
