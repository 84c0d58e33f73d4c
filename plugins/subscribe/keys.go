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
	// maxCached bounds the remembered pairs of a caller and a resource.
	maxCached = 16384
	// lookupTimeout bounds one question to Redis.
	lookupTimeout = 2 * time.Second
)

// Directory answers who a caller is and what they may do; store.Store is one.
type Directory interface {
	Authenticate(ctx context.Context, keyHash, resource string) (store.Access, error)
	// AuthenticateConsumer is for names that somebody trusted gives. One that several consumers have is store.ErrConflict.
	AuthenticateConsumer(ctx context.Context, name, resource string) (store.Access, error)
}

// keyring remembers answers about callers for a short time.
type keyring struct {
	source Directory
	now    func() time.Time
	cache  *lru.Cache[question, answer]
	flight singleflight.Group

	counted lookups
}

// question is about a caller by the hash of a key, or else by the name or id of a consumer.
type question struct{ keyHash, consumer, resource string }

// answer counts its age from before the question was sent: what Redis said may have been overtaken since then.
type answer struct {
	access store.Access
	asked  time.Time
}

func newKeyring(source Directory, now func() time.Time) *keyring {
	cache, err := lru.New[question, answer](maxCached)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &keyring{source: source, now: now, cache: cache}
}

// access returns what a key opens on a resource, from an answer no older than ttl. It fails if Redis can't be asked.
func (k *keyring) access(key, resource string, ttl time.Duration) (store.Access, error) {
	return k.answer(question{keyHash: contract.HashKey(key), resource: resource}, ttl)
}

// consumer is access for the name or id of a consumer.
func (k *keyring) consumer(name, resource string, ttl time.Duration) (store.Access, error) {
	return k.answer(question{consumer: name, resource: resource}, ttl)
}

func (k *keyring) answer(q question, ttl time.Duration) (store.Access, error) {
	if a, ok := k.cache.Get(q); ok && k.now().Sub(a.asked) < ttl {
		k.counted.hits.Add(1)
		return a.access, nil
	}
	// No two questions read the same: neither a resource nor a hash has a slash in it.
	found, err, _ := k.flight.Do(q.resource+"/"+q.keyHash+"/"+q.consumer, func() (any, error) { return k.ask(q) })
	if err != nil {
		k.counted.failures.Add(1)
		return store.Access{}, fmt.Errorf("asking what a caller may do: %w", err)
	}
	k.counted.misses.Add(1)
	return found.(store.Access), nil
}

// ask remembers only what a real caller may do with a real resource: a flood of made-up keys or names cannot push out the
// entries of honest callers.
func (k *keyring) ask(q question) (store.Access, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout) // for all who wait for it: no single call's context
	defer cancel()
	asked := k.now()
	access, err := k.lookUp(ctx, q)
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

func (k *keyring) lookUp(ctx context.Context, q question) (store.Access, error) {
	if q.keyHash != "" {
		return k.source.Authenticate(ctx, q.keyHash, q.resource)
	}
	return k.source.AuthenticateConsumer(ctx, q.consumer, q.resource)
}
