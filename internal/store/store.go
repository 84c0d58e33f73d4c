// Package store keeps everything that is kept in Redis: resources, consumers and their keys, subscriptions, deliveries.
// It is the only package that knows Redis.
package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
)

// What callers match with errors.Is. Every other error means that Redis could not be asked.
var (
	// ErrDamaged means that Redis holds something else than what was written: no other try will help.
	ErrDamaged  = errors.New("the record is damaged")
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
	// ErrFull is the ErrConflict of there being as many as there may be.
	ErrFull = fmt.Errorf("%w of number", ErrConflict)
	// ErrQuota is the ErrFull of a consumer who has as much as it may.
	ErrQuota = fmt.Errorf("%w and quota", ErrFull)
	// ErrStale means that the record changed since it was read: read again.
	ErrStale = errors.New("changed meanwhile")
	// ErrSealed means that the key ring can't open a record, or that there is none to write with: it is well again once the ring
	// is.
	ErrSealed = errors.New("sealed under a key that is not here")
)

// silent drops what the Redis library would print by itself: every call returns its error, and the caller logs it.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func init() { redis.SetLogger(silent{}) }

// Options of a store.
type Options struct {
	// URL is redis://user:password@host:port/db or rediss://…
	URL string
	// Namespace comes before every key; "webhook" unless it is set.
	Namespace string
	// Timeout bounds each call to Redis, the wait for a connection included; 2 s unless it is set.
	Timeout time.Duration
	// Service is the process's name in the audit log.
	Service string
	// AuditEntries is about how many entries each stream of the audit log keeps; 100,000 unless it is set.
	AuditEntries int64
	// MaxSubscriptions is how many subscriptions a consumer may have over all resources unless its own limits say otherwise;
	// zero: no bound.
	MaxSubscriptions int
	// Keyring seals and opens the subscriptions' secrets. A store without one reads subscriptions without them, and writes none.
	Keyring *keyring.Keyring
	// TLS makes the connections where the URL says rediss; with the system's authorities unless it is set.
	TLS *tlsconf.Client
}

// Store speaks to one Redis. It is safe for concurrent use.
type Store struct {
	rdb       *redis.Client
	key       keys
	keyring   *keyring.Keyring
	subs      parsed[*contract.Subscription]
	policies  parsed[contract.Policy]
	lists     tended
	logs      tended
	exchanged traffic

	service          string
	audited          int64
	maxSubscriptions int
}

// Open makes a store. It does not connect yet: see Ping.
func Open(o Options) (*Store, error) {
	opts, err := redis.ParseURL(o.URL)
	if err != nil {
		return nil, errors.New("REDIS_URL cannot be read: write it as redis://user:password@host:port/0") // the library's error would repeat the password
	}
	if o.Namespace == "" {
		o.Namespace = "webhook"
	}
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = o.Timeout, o.Timeout, o.Timeout, o.Timeout
	if err := secure(opts, o.TLS); err != nil {
		return nil, err
	}
	opts.MaxRetries = 1
	opts.ContextTimeoutEnabled = true
	s := &Store{rdb: redis.NewClient(opts), key: keys{o.Namespace}, keyring: o.Keyring,
		exchanged: traffic{took: newTook()}, service: o.Service, audited: cmp.Or(o.AuditEntries, mostAudited), maxSubscriptions: o.MaxSubscriptions}
	s.rdb.AddHook(&s.exchanged)
	return s, nil
}

// secure puts TLS into our hands where the URL asks for it. The library's own would keep the files that it began with.
func secure(opts *redis.Options, by *tlsconf.Client) error {
	if opts.TLSConfig == nil {
		return nil
	}
	if opts.TLSConfig.InsecureSkipVerify {
		return errors.New("REDIS_URL has the parameter skip_verify: take it out, servers are always verified")
	}
	if by == nil {
		by = &tlsconf.Client{}
	}
	dialer := &net.Dialer{Timeout: opts.DialTimeout}
	opts.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		return by.Dial(ctx, dialer, network, address)
	}
	return nil
}

// Ping reports whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("asking Redis: %w", err)
	}
	return nil
}

// Writable reports whether Redis takes writes: one that is full, or can't save, still answers.
func (s *Store) Writable(ctx context.Context) error {
	if err := s.rdb.Set(ctx, s.key.probe(), 1, time.Minute).Err(); err != nil {
		return fmt.Errorf("writing to Redis: %w", err)
	}
	return nil
}

// Close ends all connections.
func (s *Store) Close() error { return s.rdb.Close() }

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("store: a record that cannot be encoded: " + err.Error()) // our own types of plain fields
	}
	return string(raw)
}

// decode reads one record; redis.Nil becomes ErrNotFound.
func decode[T any](text string, err error, what string) (T, error) {
	var v T
	if errors.Is(err, redis.Nil) {
		return v, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	if err != nil {
		return v, fmt.Errorf("reading %s: %w", what, err)
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, fmt.Errorf("reading %s: %w: %w", what, ErrDamaged, err)
	}
	return v, nil
}

// mostPerScript bounds what one call of a script is asked for: Redis does nothing else meanwhile, and Lua passes a few
// thousand arguments at most.
const mostPerScript = 256

// pipelined runs a pipeline, and once more if Redis does not know its script: one that was restarted, or is new. A pipeline
// can't fall back by itself.
func (s *Store) pipelined(ctx context.Context, script *redis.Script, fill func(redis.Pipeliner)) error {
	for loaded := false; ; loaded = true {
		pipe := s.rdb.Pipeline()
		fill(pipe)
		_, err := pipe.Exec(ctx)
		if loaded || !redis.HasErrorPrefix(err, "NOSCRIPT") {
			return err
		}
		if err := script.Load(ctx, s.rdb).Err(); err != nil {
			return err
		}
	}
}
