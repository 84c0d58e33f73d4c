// Package pass keeps the one-time passes by which the webhook-callback plugin vouches for a call to the egress in the same
// process. A pass names its target, so the egress takes nothing about the target from the request.
package pass

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// Life is how long a pass can be redeemed.
	Life = 60 * time.Second
	// MaxOutstanding bounds the passes that are issued and not redeemed.
	MaxOutstanding = 65536

	shards = 64
)

// ErrFull means that too many passes are outstanding.
var ErrFull = errors.New("too many passes outstanding")

// Grant is what a pass opens.
type Grant struct {
	// Method is what the endpoint gets; empty for POST.
	Method string
	// Target is called exactly as it is; nobody changes it.
	Target *url.URL
	// Timeouts bound the call; zero means the egress's default.
	Timeouts contract.Timeouts
	// Certificate is the ID of the client certificate of Subscription that the call shows; empty for none.
	Certificate, Subscription string
	// Delivery is for the log and the trace.
	Delivery string
}

// Book holds the outstanding passes. It is safe for concurrent use.
type Book struct {
	now         func() time.Time
	outstanding atomic.Int64
	shards      [shards]shard
}

type token [16]byte

type entry struct {
	grant   Grant
	expires time.Time
}

// shard keeps two generations instead of a timer per pass: once the younger is as old as a pass can get, all of the elder
// have expired and go at once. Expiry itself is by each entry's own time.
type shard struct {
	mu         sync.Mutex
	young, old map[token]entry
	turned     time.Time
	_          [24]byte // a cache line of its own
}

// NewBook makes a book. now is the clock, time.Now in production.
func NewBook(now func() time.Time) *Book {
	b := &Book{now: now}
	for i := range b.shards {
		b.shards[i].young, b.shards[i].turned = map[token]entry{}, now()
	}
	return b
}

// Outstanding counts the passes that are neither redeemed nor forgotten.
func (b *Book) Outstanding() int64 { return b.outstanding.Load() }

// Issue returns a fresh pass for a grant, or ErrFull.
func (b *Book) Issue(g Grant) (string, error) {
	var t token
	_, _ = rand.Read(t[:]) // crypto/rand.Read never fails: it ends the process instead
	now := b.now()
	s := &b.shards[t[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	b.turn(s, now)
	if b.outstanding.Add(1) > MaxOutstanding {
		b.outstanding.Add(-1)
		return "", ErrFull
	}
	s.young[t] = entry{g, now.Add(Life)}
	return hex.EncodeToString(t[:]), nil
}

// Redeem returns the grant of a pass once. A pass that is unknown, used or expired opens nothing.
func (b *Book) Redeem(pass string) (Grant, bool) {
	var t token
	if len(pass) != hex.EncodedLen(len(t)) {
		return Grant{}, false
	}
	if _, err := hex.Decode(t[:], []byte(pass)); err != nil {
		return Grant{}, false
	}
	now := b.now()
	s := &b.shards[t[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	b.turn(s, now)
	e, ok := s.take(t)
	if !ok {
		return Grant{}, false
	}
	b.outstanding.Add(-1)
	return e.grant, now.Before(e.expires)
}

func (s *shard) take(t token) (entry, bool) {
	for _, generation := range []map[token]entry{s.young, s.old} {
		if e, ok := generation[t]; ok {
			delete(generation, t)
			return e, true
		}
	}
	return entry{}, false
}

// turn drops the elder generation when all of it has expired.
func (b *Book) turn(s *shard, now time.Time) {
	if now.Sub(s.turned) < Life {
		return
	}
	b.outstanding.Add(-int64(len(s.old)))
	s.old, s.young, s.turned = s.young, map[token]entry{}, now
}
