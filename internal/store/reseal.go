package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Resealing says how Reseal goes about it.
type Resealing struct {
	// CheckOnly counts and changes nothing.
	CheckOnly bool
	// Pace is asked before each batch of so many records, and may wait; nil: no wait.
	Pace func(ctx context.Context, records int) error
	// Failed is told of each record that can't be opened, by its subscription's id.
	Failed func(id string, err error)
	// Progress is told after each batch.
	Progress func(Resealed)
}

// Resealed counts records: all subscriptions and the key of the fingerprints.
type Resealed struct {
	// Current were sealed under the current key already, Done were sealed anew.
	Current, Done int
	// Failed can't be opened.
	Failed int
	// Others are under other keys, by their ids, "" for records that are not sealed at all; CheckOnly leaves them there.
	Others map[string]int
}

// Complete reports whether all is sealed under the current key, so that the others can go.
func (r Resealed) Complete() bool { return r.Failed == 0 && len(r.Others) == 0 }

// Reseal brings everything that is sealed under the current key, with a fresh data key for each record, while others read and
// write. What a subscription says stays as it is, its revision and times too. Who changes one at the same time wins, and seals
// under its own current key. It can be broken off and begun again: what is done is passed over.
func (s *Store) Reseal(ctx context.Context, how Resealing) (Resealed, error) {
	if s.keyring == nil {
		return Resealed{}, fmt.Errorf("there is no key ring: %w", ErrSealed)
	}
	r := &resealer{Store: s, Resealing: how, count: Resealed{Others: map[string]int{}}}
	if err := r.fingerprints(ctx); err != nil {
		return r.count, err
	}
	return r.count, r.subscriptions(ctx)
}

type resealer struct {
	*Store
	Resealing

	count Resealed
}

func (r *resealer) fingerprints(ctx context.Context) error {
	for {
		text, envelope, err := r.sealedFingerprintKey(ctx)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		var key []byte
		if err == nil {
			key, err = r.unseal(envelope, fingerprintsBound)
		}
		switch {
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrSealed):
			r.fails("the key of the fingerprints", err)
			return nil
		case err != nil:
			return err
		case r.keyring.IsCurrent(envelope):
			r.count.Current++
			return nil
		case r.CheckOnly:
			r.count.Others[envelope.Key]++
			return nil
		}
		n, err := resealValue.Run(ctx, r.rdb, []string{r.key.fingerprints()}, text, encode(r.keyring.Seal(key, fingerprintsBound))).Int()
		if err != nil {
			return fmt.Errorf("writing the key of the fingerprints: %w", err)
		}
		if n == 1 {
			r.count.Done++
			return nil
		}
	}
}

// resealValue
// KEYS 1 value. ARGV 1 expected value, 2 new value. Output: 1 done, 0 the value is another one or gone.
var resealValue = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`)

// subscriptions walks over the keys themselves and not over a list of them: what counts is what is there. A key that Redis names
// twice is counted twice.
func (r *resealer) subscriptions(ctx context.Context) error {
	prefix := r.key.subscription("")
	for cursor := uint64(0); ; {
		names, next, err := r.rdb.Scan(ctx, cursor, prefix+"*", scanStep).Result()
		if err != nil {
			return fmt.Errorf("looking for subscriptions: %w", err)
		}
		for batch := range slices.Chunk(names, mostPerScript) {
			ids := make([]string, len(batch))
			for i, name := range batch {
				ids[i] = strings.TrimPrefix(name, prefix)
			}
			if err := r.batch(ctx, ids); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// batch goes on with those that somebody else changed meanwhile until there are none.
func (r *resealer) batch(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		if r.Pace != nil {
			if err := r.Pace(ctx, len(ids)); err != nil {
				return fmt.Errorf("resealing: %w", err)
			}
		}
		due, err := r.look(ctx, ids)
		if err != nil {
			return err
		}
		if ids, err = r.write(ctx, due); err != nil {
			return err
		}
	}
	if r.Progress != nil {
		r.Progress(r.count)
	}
	return nil
}

// resealing is a record that is to be written.
type resealing struct {
	id, before, after string
	// was and same are its fingerprints, which differ for one that was not sealed yet.
	was, same string
}

func (r *resealer) look(ctx context.Context, ids []string) (due []resealing, err error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = r.key.subscription(id)
	}
	found, err := r.rdb.MGet(ctx, names...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading subscriptions: %w", err)
	}
	for i, text := range textsOf(found) {
		if text == "" {
			continue // ended meanwhile
		}
		record, err := r.one(ctx, ids[i], text)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrSealed) {
			r.fails(ids[i], err)
		} else if err != nil {
			return nil, err
		} else if record != nil {
			due = append(due, *record)
		}
	}
	return due, nil
}

// one is nil if there is nothing to write.
func (r *resealer) one(ctx context.Context, id, text string) (*resealing, error) {
	record, err := decode[atRest](text, nil, "subscription")
	if err != nil {
		return nil, err
	}
	sub, err := r.open(record)
	if err != nil {
		return nil, err
	}
	switch {
	case record.Sealed != nil && r.keyring.IsCurrent(*record.Sealed):
		r.count.Current++
		return nil, nil
	case r.CheckOnly:
		r.count.Others[record.sealedUnder()]++
		return nil, nil
	}
	same := record.Same
	if same == "" {
		if same, err = r.fingerprint(ctx, sub); err != nil {
			return nil, err
		}
	}
	after, err := r.seal(sub, same)
	return &resealing{id, text, after, record.same(), same}, err
}

func (k atRest) sealedUnder() string {
	if k.Sealed == nil {
		return ""
	}
	return k.Sealed.Key
}

// write returns the ids of those that changed meanwhile.
func (r *resealer) write(ctx context.Context, due []resealing) (again []string, err error) {
	if len(due) == 0 {
		return nil, nil
	}
	var written []*redis.Cmd
	err = r.pipelined(ctx, resealSubscription, func(pipe redis.Pipeliner) {
		written = written[:0]
		for _, d := range due {
			names := []string{r.key.subscription(d.id), r.key.fingerprint(d.was), r.key.fingerprint(d.same)}
			written = append(written, resealSubscription.EvalSha(ctx, pipe, names, d.id, d.before, d.after, r.key.subscription("")))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("writing subscriptions: %w", err)
	}
	for i, cmd := range written {
		if n, _ := cmd.Int(); n == 1 { // Exec has returned its error
			r.count.Done++
		} else {
			again = append(again, due[i].id)
		}
	}
	return again, nil
}

// resealSubscription
// KEYS 1 subscription, 2 its fingerprint, 3 its new fingerprint, perhaps the same. ARGV 1 id, 2 expected record, 3 new record,
// 4 prefix of subscription keys. Output: 1 done, 0 the record is another one or gone.
var resealSubscription = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
if KEYS[2] == KEYS[3] then return 1 end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
local same = redis.call('GET', KEYS[3])
if not same or redis.call('EXISTS', ARGV[4] .. same) == 0 then redis.call('SET', KEYS[3], ARGV[1]) end
return 1`)

func (r *resealer) fails(id string, err error) {
	r.count.Failed++
	if r.Failed != nil {
		r.Failed(id, err)
	}
}
