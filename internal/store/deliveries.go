package store

import (
	"context"
	"errors"
	"fmt"
	"time"

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

// DeliveryQuery asks for deliveries of a subscription, newest first. What is zero asks for all.
type DeliveryQuery struct {
	Subscription string
	Status       contract.DeliveryStatus
	// EventType and EventID are those of the event, as they are.
	EventType, EventID string
	// Since and Until bound when the delivery was created, both included.
	Since, Until time.Time
	Cursor       string
	Limit        int
}

func (q DeliveryQuery) matches(d *contract.Delivery) bool {
	return d != nil && (q.Status == "" || q.Status == d.Status) && (q.EventType == "" || q.EventType == d.EventType) &&
		(q.EventID == "" || q.EventID == d.EventID)
}

// deliveriesStep is how many deliveries are read at a time, deliveriesScanned how many one page looks at.
const deliveriesStep, deliveriesScanned = 200, 2000

// Deliveries returns a page of a subscription's deliveries, newest first, without attempts, and the cursor of the next page,
// "" at the end. It looks at a bounded number of deliveries, so that a page may have fewer than asked for, or none, and still a
// cursor. An unreadable cursor is ErrConflict.
func (s *Store) Deliveries(ctx context.Context, q DeliveryQuery) ([]contract.Delivery, string, error) {
	page := make([]contract.Delivery, 0, q.Limit)
	cursor := q.Cursor
	for range deliveriesScanned / deliveriesStep {
		entries, err := s.pageWithin(ctx, s.key.deliveries(q.Subscription), true, span{q.Since, q.Until}, cursor, deliveriesStep)
		if err != nil {
			return nil, "", err
		}
		found, err := s.listed(ctx, entries)
		if err != nil {
			return nil, "", err
		}
		for i, d := range found {
			if !q.matches(d) {
				continue
			}
			if len(page) == q.Limit {
				return page, cursor, nil
			}
			page = append(page, *d)
			cursor = cursorAt(entries[i])
		}
		if len(entries) < deliveriesStep {
			return page, "", nil
		}
		cursor = cursorAt(entries[len(entries)-1])
	}
	return page, cursor, nil
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
