package subscribe

import (
	"context"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// maxCached bounds the remembered pairs of a key and a resource.
	maxCached = 16384
	// lookupTimeout bounds one question to Redis.
	lookupTimeout = 2 * time.Second
)

// Authenticator answers what a key opens; store.Store is one.
type Authenticator interface {
	Authenticate(ctx context.Context, keyHash, resource string) (store.Access, error)
}

// keyring remembers answers about keys for a short time.
type keyring struct {
	source Authenticator
	now    func() time.Time
	cache  *lru.Cache[question, answer]
	flight singleflight.Group
}

type question struct{ keyHash, resource string }

// answer counts its age from before the question was sent: what Redis said may have been overtaken since then.
type answer struct {
	access store.Access
	asked  time.Time
}

func newKeyring(source Authenticator, now func() time.Time) *keyring {
	cache, err := lru.New[question, answer](maxCached)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &keyring{source: source, now: now, cache: cache}
}

// access returns what a key opens on a resource, from an answer no older than ttl. It fails if Redis can't be asked.
func (k *keyring) access(key, resource string, ttl time.Duration) (store.Access, error) {
	q := question{contract.HashKey(key), resource}
	if a, ok := k.cache.Get(q); ok && k.now().Sub(a.asked) < ttl {
		return a.access, nil
	}
	found, err, _ := k.flight.Do(q.keyHash+q.resource, func() (any, error) { return k.ask(q) })
	if err != nil {
		return store.Access{}, fmt.Errorf("asking what a key opens: %w", err)
	}
	return found.(store.Access), nil
}

// ask remembers only what a real key opens on a real resource: a flood of made-up keys or names cannot push out the
// entries of honest callers.
func (k *keyring) ask(q question) (store.Access, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout) // for all who wait for it: no single call's context
	defer cancel()
	asked := k.now()
	access, err := k.source.Authenticate(ctx, q.keyHash, q.resource)
	if err != nil {
		return store.Access{}, err
	}
	if access.Consumer != "" && access.Known {
		k.cache.Add(q, answer{access, asked})
	} else {
		k.cache.Remove(q)
	}
	return access, nil
}
