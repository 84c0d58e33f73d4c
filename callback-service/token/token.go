// Package token gets the access tokens that callbacks carry, by OAuth 2.0 client credentials (RFC 6749, section 4.4), and keeps
// them in memory and nowhere else.
package token

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// mostKept bounds the tokens in memory.
	mostKept = 10_000
	// defaultLife is that of a token that does not say when it expires; maxLife bounds what one can say.
	defaultLife, maxLife = 5 * time.Minute, 24 * time.Hour
	// maxMargin is how long before it expires a token is not used any more, at most: it has to arrive, too.
	maxMargin = time.Minute
	// For how long a failure stands, so that what waits does not ask again and again. Credentials that are refused do not get right
	// by being sent again; others who are wrong have another key here, and are asked for at once.
	refusedLife, failedLife = 30 * time.Second, 3 * time.Second
	// freshFor is how long a token is surely not too old.
	freshFor = time.Minute
)

// Gateway makes one call.
type Gateway interface {
	Do(ctx context.Context, call gateway.Call) (gateway.Answer, error)
}

// Source has the tokens. It is safe for concurrent use.
type Source struct {
	gateway Gateway
	now     func() time.Time
	kept    *lru.Cache[key, kept]
	flight  singleflight.Group
	counts  counts
}

// key is a digest of all that a token hangs on, the client's secret included: who changes any of it gets another token.
type key [sha256.Size]byte

// kept is a token, or why there is none.
type kept struct {
	token   string
	failure *Failure
	got     time.Time
	until   time.Time
}

// New makes a source. now is the clock, time.Now in production.
func New(gateway Gateway, now func() time.Time) *Source {
	cache, err := lru.New[key, kept](mostKept)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Source{gateway: gateway, now: now, kept: cache, counts: newCounts()}
}

// Token returns the access token for a subscription's callbacks, "" if it wants none. All who wait for the same token share one
// request. The error is a *Failure if the token's endpoint is the reason; any other means that the gateway could not be asked.
func (s *Source) Token(ctx context.Context, sub *contract.Subscription, timeouts contract.Timeouts) (string, error) {
	if sub.Auth == nil || sub.Auth.OAuth2 == nil {
		return "", nil
	}
	k := keyOf(sub.Auth)
	if found, ok := s.kept.Get(k); ok && s.now().Before(found.until) {
		s.counts.hits.Inc()
		return found.result()
	}
	s.counts.misses.Inc()
	fetched := s.flight.DoChan(string(k[:]), func() (any, error) { return s.fetch(ctx, k, sub, timeouts) })
	timer := time.NewTimer(gateway.Most(timeouts)) // somebody else's request may have more time than ours
	defer timer.Stop()
	select {
	case r := <-fetched:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(kept).result()
	case <-timer.C:
		return "", &Failure{Detail: contract.DetailTokenTimeout}
	}
}

func (k kept) result() (string, error) {
	if k.failure != nil {
		return "", k.failure
	}
	return k.token, nil
}

// fetch asks for a token, and keeps what came of it.
func (s *Source) fetch(ctx context.Context, k key, sub *contract.Subscription, timeouts contract.Timeouts) (kept, error) {
	if found, ok := s.kept.Get(k); ok && s.now().Before(found.until) {
		return found, nil // the request before this one ended just now
	}
	token, life, err := s.request(ctx, sub, timeouts)
	s.counts.request(err)
	now := s.now()
	entry := kept{token: token, got: now, until: now.Add(untilRenewal(life))}
	if err != nil {
		failure, ours := err.(*Failure) //nolint:errorlint // request returns it bare
		if !ours {
			return kept{}, err
		}
		entry = kept{failure: failure, got: now, until: now.Add(failure.life())}
	}
	s.kept.Add(k, entry)
	return entry, nil
}

// untilRenewal is how long a token is used: not up to its last moment, and not by all processes up to the same one.
func untilRenewal(life time.Duration) time.Duration {
	life = min(life, maxLife)
	margin := min(max(0, life/10), maxMargin)
	return life - margin - rand.N(margin+1) // #nosec G404 -- no secret hangs on it
}

// Refused tells that the endpoint answered 401 to a token. It reports whether there is reason to believe that another token
// would do: this one is not as it was got a moment ago, and is forgotten, or there is another already.
func (s *Source) Refused(sub *contract.Subscription, token string) bool {
	if sub.Auth == nil || sub.Auth.OAuth2 == nil {
		return false
	}
	k := keyOf(sub.Auth)
	found, ok := s.kept.Get(k)
	switch {
	case !ok || found.token != token:
		return true
	case s.now().Sub(found.got) < freshFor:
		return false
	}
	s.kept.Remove(k)
	return true
}

func keyOf(auth *contract.Auth) key {
	text, _ := json.Marshal([]any{auth.OAuth2, auth.CertificateID()}) // plain values: never fails
	return sha256.Sum256(text)
}
