package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// PutResource creates or replaces a resource and reports whether it is new.
func (s *Store) PutResource(ctx context.Context, r contract.Resource) (created bool, err error) {
	pipe := s.rdb.TxPipeline()
	added := pipe.HSet(ctx, s.key.resources(), r.Name, encode(r))
	if len(r.Policy) > 0 {
		pipe.HSet(ctx, s.key.policies(), r.Name, string(r.Policy))
	} else {
		pipe.HDel(ctx, s.key.policies(), r.Name)
	}
	pipe.Set(ctx, s.key.catalogueVersion(), contract.NewID("v"), 0)
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("writing the resource: %w", err)
	}
	return added.Val() == 1, nil
}

// Resource returns one resource or ErrNotFound.
func (s *Store) Resource(ctx context.Context, name string) (contract.Resource, error) {
	text, err := s.rdb.HGet(ctx, s.key.resources(), name).Result()
	return decode[contract.Resource](text, err, "resource")
}

// Policy returns the policy of a resource, which is empty if there is none or no such resource.
func (s *Store) Policy(ctx context.Context, resource string) (contract.Policy, error) {
	text, err := s.rdb.HGet(ctx, s.key.policies(), resource).Result()
	policy, err := decode[contract.Policy](text, err, "policy")
	if errors.Is(err, ErrNotFound) {
		return contract.Policy{}, nil
	}
	return policy, err
}

// Resources returns all resources by name.
func (s *Store) Resources(ctx context.Context) ([]contract.Resource, error) {
	all, err := list[contract.Resource](ctx, s.rdb, s.key.resources())
	slices.SortFunc(all, func(a, b contract.Resource) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// ChangeResource reads a resource, lets change alter it and writes it back, again if somebody else was faster.
func (s *Store) ChangeResource(ctx context.Context, name string, change func(*contract.Resource)) (contract.Resource, error) {
	return changeField(ctx, s.rdb, []string{s.key.resources(), s.key.policies(), s.key.catalogueVersion()}, name, "resource", change,
		func(r contract.Resource) string { return string(r.Policy) })
}

// DeleteResource removes a resource: ErrNotFound, or ErrConflict while it has subscriptions.
func (s *Store) DeleteResource(ctx context.Context, name string) error {
	keys := []string{s.key.resources(), s.key.resourceSubs(name), s.key.policies(), s.key.catalogueVersion()}
	n, err := deleteResource.Run(ctx, s.rdb, keys, name, contract.NewID("v")).Int()
	switch {
	case err != nil:
		return fmt.Errorf("deleting the resource: %w", err)
	case n < 0:
		return fmt.Errorf("the resource has subscriptions: %w", ErrConflict)
	case n == 0:
		return fmt.Errorf("resource: %w", ErrNotFound)
	}
	return nil
}

// deleteResource
// KEYS 1 resources, 2 subscriptions of the resource, 3 policies, 4 version. ARGV 1 name, 2 version token.
// Output: 1 deleted, 0 not there, -1 has subscriptions.
var deleteResource = redis.NewScript(`
if redis.call('SCARD', KEYS[2]) > 0 then return -1 end
redis.call('HDEL', KEYS[3], ARGV[1])
local gone = redis.call('HDEL', KEYS[1], ARGV[1])
if redis.call('HLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[4]) else redis.call('SET', KEYS[4], ARGV[2]) end
return gone`)

// ResourcesSince returns all resources, in no order, and a version that changes with any of them. To a caller who knows that
// version already it returns nil. Version "" is that of no resources.
func (s *Store) ResourcesSince(ctx context.Context, known string) (version string, all []contract.Resource, err error) {
	found, err := resourcesSince.Run(ctx, s.rdb, []string{s.key.resources(), s.key.catalogueVersion()}, known).StringSlice()
	if err != nil {
		return known, nil, fmt.Errorf("reading the resources: %w", err)
	}
	version, found = found[0], found[1:]
	if version == known {
		return version, nil, nil
	}
	all = make([]contract.Resource, 0, len(found))
	for _, text := range found {
		resource, err := decode[contract.Resource](text, nil, "resource")
		if err != nil {
			return known, nil, err
		}
		all = append(all, resource)
	}
	return version, all, nil
}

// resourcesSince
// KEYS 1 resources, 2 version. ARGV 1 the version that is known. Output: the version, and if it is another one all resources.
var resourcesSince = redis.NewScript(`
local found = {redis.call('GET', KEYS[2]) or ''}
if found[1] == ARGV[1] then return found end
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do found[#found + 1] = record end
return found`)

// PutConsumer creates or replaces a consumer.
func (s *Store) PutConsumer(ctx context.Context, c contract.Consumer) error {
	if err := putConsumer.Run(ctx, s.rdb, s.key.consumersByIDAndName(), c.ID, encode(c), c.Name).Err(); err != nil {
		return fmt.Errorf("writing the consumer: %w", err)
	}
	return nil
}

// Consumer returns one consumer or ErrNotFound.
func (s *Store) Consumer(ctx context.Context, id string) (contract.Consumer, error) {
	text, err := s.rdb.HGet(ctx, s.key.consumers(), id).Result()
	return decode[contract.Consumer](text, err, "consumer")
}

// Consumers returns all consumers by name, then id.
func (s *Store) Consumers(ctx context.Context) ([]contract.Consumer, error) {
	all, err := list[contract.Consumer](ctx, s.rdb, s.key.consumers())
	slices.SortFunc(all, func(a, b contract.Consumer) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return all, err
}

// ChangeConsumer reads a consumer, lets change alter it and writes it back, again if somebody else was faster.
func (s *Store) ChangeConsumer(ctx context.Context, id string, change func(*contract.Consumer)) (contract.Consumer, error) {
	for {
		before, err := s.rdb.HGet(ctx, s.key.consumers(), id).Result()
		c, err := decode[contract.Consumer](before, err, "consumer")
		if err != nil {
			return c, err
		}
		change(&c)
		n, err := swapConsumer.Run(ctx, s.rdb, s.key.consumersByIDAndName(), id, encode(c), c.Name, before).Int()
		if err != nil {
			return c, fmt.Errorf("writing the consumer: %w", err)
		}
		if n == 1 {
			return c, nil
		}
	}
}

// DeleteConsumer removes a consumer, its keys and its subscriptions. The consumer itself goes first: from then on its keys
// open nothing, whatever becomes of the rest.
func (s *Store) DeleteConsumer(ctx context.Context, id string) error {
	n, err := deleteConsumer.Run(ctx, s.rdb, s.key.consumersByIDAndName(), id).Int()
	if err != nil {
		return fmt.Errorf("deleting the consumer: %w", err)
	}
	subs, err := s.rdb.SMembers(ctx, s.key.consumerSubs(id)).Result()
	if err != nil {
		return fmt.Errorf("reading the consumer's subscriptions: %w", err)
	}
	for _, sub := range subs {
		if err := s.DeleteSubscription(ctx, sub); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	records, err := s.keyRecords(ctx, id)
	if err != nil {
		return err
	}
	for _, record := range records {
		if err := s.DeleteKey(ctx, id, record.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	if n == 0 {
		return fmt.Errorf("consumer: %w", ErrNotFound)
	}
	return nil
}

// Key is an API key of a consumer. The key itself is not kept.
type Key struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

// keyRecord stands under the key's hash, and under the key's id for the way back.
type keyRecord struct {
	Key
	Consumer string `json:"consumer"`
	Hash     string `json:"hash"`
}

// CreateKey makes a key for a consumer: ErrNotFound, or ErrFull where it has MostKeys. The plain key is returned this one time.
func (s *Store) CreateKey(ctx context.Context, consumer string, now time.Time) (Key, string, error) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	plain := "whk_" + base64.RawURLEncoding.EncodeToString(raw[:])
	record := keyRecord{Key: Key{ID: contract.NewID("key"), CreatedAt: now.UTC()}, Consumer: consumer, Hash: contract.HashKey(plain)}
	n, err := createKey.Run(ctx, s.rdb, []string{s.key.apiKeys(), s.key.consumerKeys(consumer), s.key.consumers()},
		record.Hash, record.ID, encode(record), consumer, MostKeys).Int()
	switch {
	case err != nil:
		return Key{}, "", fmt.Errorf("writing the key: %w", err)
	case n == 0:
		return Key{}, "", fmt.Errorf("consumer: %w", ErrNotFound)
	case n < 0:
		return Key{}, "", fmt.Errorf("the consumer has %d keys: revoke one first: %w", MostKeys, ErrFull)
	}
	return record.Key, plain, nil
}

// MostKeys is how many API keys a consumer may have.
const MostKeys = 100

// createKey
// KEYS 1 api keys, 2 the consumer's keys, 3 consumers. ARGV 1 hash, 2 id, 3 record, 4 consumer, 5 most keys.
// Output: 1 done, 0 there is no such consumer, -1 it has as many as it may.
var createKey = redis.NewScript(`
if redis.call('HEXISTS', KEYS[3], ARGV[4]) == 0 then return 0 end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1`)

// Keys returns a consumer's keys, oldest first.
func (s *Store) Keys(ctx context.Context, consumer string) ([]Key, error) {
	if _, err := s.Consumer(ctx, consumer); err != nil {
		return nil, err
	}
	records, err := s.keyRecords(ctx, consumer)
	out := make([]Key, 0, len(records))
	for _, record := range records {
		out = append(out, record.Key)
	}
	return out, err
}

func (s *Store) keyRecords(ctx context.Context, consumer string) ([]keyRecord, error) {
	records, err := list[keyRecord](ctx, s.rdb, s.key.consumerKeys(consumer))
	slices.SortFunc(records, func(a, b keyRecord) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return records, err
}

// DeleteKey revokes a key, or returns ErrNotFound.
func (s *Store) DeleteKey(ctx context.Context, consumer, id string) error {
	text, err := s.rdb.HGet(ctx, s.key.consumerKeys(consumer), id).Result()
	record, err := decode[keyRecord](text, err, "key")
	if err != nil {
		return err
	}
	pipe := s.rdb.TxPipeline()
	pipe.HDel(ctx, s.key.apiKeys(), record.Hash)
	pipe.HDel(ctx, s.key.consumerKeys(consumer), id)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("deleting the key: %w", err)
	}
	return nil
}

// Access is what one caller may do with one resource.
type Access struct {
	// Consumer is empty if the caller is unknown.
	Consumer string
	// Key is the id of the key that the caller was found by; empty where it was by a name.
	Key string
	// Known tells whether the resource exists.
	Known bool
	// Actions are what the consumer's grants allow on the resource.
	Actions []string
}

// Authenticate looks a key up by its hash, with its consumer's grants for a resource, in one round trip. An unknown key is
// no error: see Access.Consumer.
func (s *Store) Authenticate(ctx context.Context, keyHash, resource string) (Access, error) {
	found, err := authenticate.Run(ctx, s.rdb, []string{s.key.apiKeys(), s.key.consumers(), s.key.resources()}, keyHash, resource).Slice()
	if err != nil {
		return Access{}, fmt.Errorf("looking a key up: %w", err)
	}
	access := Access{Known: found[1] == int64(1)}
	if text, ok := found[0].(string); ok {
		consumer, err := decode[contract.Consumer](text, nil, "consumer")
		if err != nil {
			return Access{}, err
		}
		access.Consumer, access.Actions = consumer.ID, consumer.ActionsOn(resource)
		access.Key, _ = found[2].(string)
	}
	return access, nil
}

// authenticate
// KEYS 1 api keys, 2 consumers, 3 resources. ARGV 1 hash of the key, 2 resource.
// Output: the consumer's record or false, 1 if the resource exists, the key's id or false.
var authenticate = redis.NewScript(`
local known = redis.call('HEXISTS', KEYS[3], ARGV[2])
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return {false, known, false} end
record = cjson.decode(record)
return {redis.call('HGET', KEYS[2], record.consumer), known, record.id or false}`)

func list[T any](ctx context.Context, rdb *redis.Client, key string) ([]T, error) {
	texts, err := rdb.HVals(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("reading a list: %w", err)
	}
	all := make([]T, 0, len(texts))
	for _, text := range texts {
		v, err := decode[T](text, nil, "record")
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// changeField changes a field of the first hash; what beside makes of it is written to the second one, and a new version to
// the third key.
func changeField[T any](ctx context.Context, rdb *redis.Client, hashes []string, field, what string, change func(*T), beside func(T) string) (T, error) {
	for {
		before, err := rdb.HGet(ctx, hashes[0], field).Result()
		v, err := decode[T](before, err, what)
		if err != nil {
			return v, err
		}
		change(&v)
		n, err := swapField.Run(ctx, rdb, hashes, field, before, encode(v), beside(v), contract.NewID("v")).Int()
		if err != nil {
			return v, fmt.Errorf("writing the %s: %w", what, err)
		}
		if n == 1 {
			return v, nil
		}
	}
}

// swapField
// KEYS 1 hash, 2 hash beside, 3 version. ARGV 1 field, 2 expected value, 3 new value, 4 value beside or "",
// 5 version token. Output: 1 done, 0 the value is another one or gone.
var swapField = redis.NewScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('SET', KEYS[3], ARGV[5])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[2], ARGV[1], ARGV[4]) else redis.call('HDEL', KEYS[2], ARGV[1]) end
return 1`)
