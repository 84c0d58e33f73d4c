package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// How long and how many deliveries are kept for the deliveries calls, per subscription.
const (
	deliveryLife = 7 * 24 * time.Hour
	mostKept     = 1000
)

// Standings reads the subscriptions and the records of many deliveries in one round trip, in the order asked.
func (s *Store) Standings(ctx context.Context, asked []Pending) ([]Standing, error) {
	pipe := s.rdb.Pipeline()
	subs := map[string]*redis.StringCmd{}
	records := make([]*redis.StringCmd, len(asked))
	for i, p := range asked {
		if subs[p.Subscription] == nil {
			subs[p.Subscription] = pipe.Get(ctx, s.key.subscription(p.Subscription))
		}
		records[i] = pipe.HGet(ctx, s.key.delivery(p.Delivery), "d")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading subscriptions and deliveries: %w", err)
	}
	found := make(map[string]*contract.Subscription, len(subs))
	for id, cmd := range subs {
		sub, err := optional[contract.Subscription](cmd, "subscription")
		if err != nil {
			return nil, err
		}
		found[id] = sub
	}
	standings := make([]Standing, len(asked))
	for i, p := range asked {
		recorded, err := optional[contract.Delivery](records[i], "delivery")
		if err != nil {
			return nil, err
		}
		standings[i] = Standing{Subscription: found[p.Subscription], Recorded: recorded}
	}
	return standings, nil
}

// optional decodes a record, nil if there is none.
func optional[T any](cmd *redis.StringCmd, what string) (*T, error) {
	v, err := decode[T](cmd.Val(), cmd.Err(), what)
	if errors.Is(err, ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is an answer here
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// RecordDeliveries keeps the state of deliveries, each with the attempts that it carries, in one round trip. Recording the
// same attempt again changes nothing.
func (s *Store) RecordDeliveries(ctx context.Context, deliveries []contract.Delivery) error {
	err := s.recordAll(ctx, deliveries)
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that was restarted or is new: a pipeline can't fall back by itself
		if err = recordDelivery.Load(ctx, s.rdb).Err(); err == nil {
			err = s.recordAll(ctx, deliveries)
		}
	}
	if err != nil {
		return fmt.Errorf("recording deliveries: %w", err)
	}
	return nil
}

func (s *Store) recordAll(ctx context.Context, deliveries []contract.Delivery) error {
	pipe := s.rdb.Pipeline()
	for _, d := range deliveries {
		args := []any{d.ID, d.CreatedAt.UnixMilli(), int64(deliveryLife / time.Second), mostKept, "s", string(d.Status)}
		for _, a := range d.Attempts {
			args = append(args, "a"+strconv.Itoa(a.Number), encode(a))
		}
		d.Attempts = nil
		args = append(args, "d", encode(d))
		recordDelivery.EvalSha(ctx, pipe, []string{s.key.delivery(d.ID), s.key.deliveries(d.Subscription), s.key.subscription(d.Subscription)}, args...)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// recordDelivery
// KEYS 1 delivery, 2 deliveries of the subscription, 3 subscription.
// ARGV 1 id, 2 created ms, 3 life in seconds, 4 most kept, then field, value…
// Output: 1. A subscription that is gone gets no list; a succeeded delivery stays succeeded.
var recordDelivery = redis.NewScript(`
if redis.call('HGET', KEYS[1], 's') == 'succeeded' then return 1 end
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[3])
if redis.call('EXISTS', KEYS[3]) == 1 then
  if redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) == 1 then
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[4]))
    redis.call('EXPIRE', KEYS[2], ARGV[3])
  end
end
return 1`)

// Delivery returns one delivery of a subscription with its attempts, or ErrNotFound.
func (s *Store) Delivery(ctx context.Context, subscription, id string) (contract.Delivery, error) {
	fields, err := s.rdb.HGetAll(ctx, s.key.delivery(id)).Result()
	if err != nil {
		return contract.Delivery{}, fmt.Errorf("reading the delivery: %w", err)
	}
	d, err := deliveryOf(fields)
	if err == nil && d.Subscription != subscription {
		err = fmt.Errorf("delivery: %w", ErrNotFound)
	}
	return d, err
}

func deliveryOf(fields map[string]string) (contract.Delivery, error) {
	text, ok := fields["d"]
	if !ok {
		return contract.Delivery{}, fmt.Errorf("delivery: %w", ErrNotFound)
	}
	d, err := decode[contract.Delivery](text, nil, "delivery")
	if err != nil {
		return d, err
	}
	for name, value := range fields {
		if !strings.HasPrefix(name, "a") {
			continue
		}
		var a contract.Attempt
		if err := json.Unmarshal([]byte(value), &a); err != nil {
			return d, fmt.Errorf("reading an attempt: %w: %w", ErrDamaged, err)
		}
		d.Attempts = append(d.Attempts, a)
	}
	slices.SortFunc(d.Attempts, func(a, b contract.Attempt) int { return a.Number - b.Number })
	return d, nil
}

// Deliveries returns a page of a subscription's deliveries, newest first, without attempts, and the cursor of the next page,
// "" at the end. status "" means all. An unreadable cursor is ErrConflict.
func (s *Store) Deliveries(ctx context.Context, subscription string, status contract.DeliveryStatus, cursor string, limit int) ([]contract.Delivery, string, error) {
	const step = 200
	page := make([]contract.Delivery, 0, limit)
	for {
		entries, err := s.page(ctx, s.key.deliveries(subscription), true, cursor, step)
		if err != nil {
			return nil, "", err
		}
		found, err := s.deliveries(ctx, entries)
		if err != nil {
			return nil, "", err
		}
		for i, d := range found {
			if d == nil || status != "" && d.Status != status {
				continue
			}
			if len(page) == limit {
				return page, cursor, nil
			}
			page = append(page, *d)
			cursor = cursorAt(entries[i])
		}
		if len(entries) < step {
			return page, "", nil
		}
		cursor = cursorAt(entries[len(entries)-1])
	}
}

// deliveries reads many without their attempts; nil stands for one that is gone.
func (s *Store) deliveries(ctx context.Context, entries []redis.Z) ([]*contract.Delivery, error) {
	pipe := s.rdb.Pipeline()
	reads := make([]*redis.StringCmd, len(entries))
	for i, entry := range entries {
		reads[i] = pipe.HGet(ctx, s.key.delivery(entry.Member.(string)), "d")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	found := make([]*contract.Delivery, len(entries))
	for i, read := range reads {
		d, err := optional[contract.Delivery](read, "delivery")
		if err != nil {
			return nil, err
		}
		found[i] = d
	}
	return found, nil
}
