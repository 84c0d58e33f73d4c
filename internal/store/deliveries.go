package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Delivery returns one delivery of a subscription with its attempts, or ErrNotFound.
func (s *Store) Delivery(ctx context.Context, subscription, id string) (contract.Delivery, error) {
	text, err := s.rdb.Get(ctx, s.key.delivery(id)).Result()
	if errors.Is(err, redis.Nil) {
		return contract.Delivery{}, fmt.Errorf("delivery: %w", ErrNotFound)
	}
	if err != nil {
		return contract.Delivery{}, fmt.Errorf("reading the delivery: %w", err)
	}
	d, err := deliveryOf(text)
	if err == nil && d.Subscription != subscription {
		return contract.Delivery{}, fmt.Errorf("delivery: %w", ErrNotFound)
	}
	return d, err
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
		found, err := s.listed(ctx, entries)
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

// listed reads the deliveries of a page without their attempts; nil stands for one that is gone.
func (s *Store) listed(ctx context.Context, entries []redis.Z) ([]*contract.Delivery, error) {
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = s.key.delivery(entry.Member.(string))
	}
	found := make([]*contract.Delivery, len(entries))
	texts, err := s.texts(ctx, names)
	for i, text := range texts {
		if text == "" {
			continue
		}
		if found[i], err = headOf(text); err != nil {
			return nil, err
		}
	}
	return found, err
}

// Statuses returns the records of deliveries, without attempts, in one round trip; nil where there is none. One that can't be
// read counts as none: it must not hold up the others.
func (s *Store) Statuses(ctx context.Context, deliveries []string) ([]*contract.Delivery, error) {
	names := make([]string, len(deliveries))
	for i, id := range deliveries {
		names[i] = s.key.delivery(id)
	}
	texts, err := s.texts(ctx, names)
	found := make([]*contract.Delivery, len(texts))
	for i, text := range texts {
		if text != "" {
			found[i], _ = headOf(text)
		}
	}
	return found, err
}

// texts reads many keys in one command; "" stands for one that is not there.
func (s *Store) texts(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	values, err := s.rdb.MGet(ctx, names...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading deliveries: %w", err)
	}
	return textsOf(values), nil
}

func textsOf(values []any) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	return texts
}
