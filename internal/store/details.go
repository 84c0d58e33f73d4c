package store

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// detailStep is how many packs are read at a time, detailsSearched how many for one delivery.
	detailStep, detailsSearched = 16, 256
	// clocksApart is how far the clock of Redis may be behind that of the one who made an attempt.
	clocksApart = 5 * time.Second
)

// AttemptDetails adds to a delivery's attempts what the log has of them: request, answer and timings. What the log does not hold
// any more, or what a bounded search does not find, stays as it is.
func (s *Store) AttemptDetails(ctx context.Context, d *contract.Delivery) error {
	search := &detailSearch{store: s, delivery: d, left: detailsSearched, missing: map[int]*contract.Attempt{}}
	for i := range d.Attempts {
		search.missing[d.Attempts[i].Number] = &d.Attempts[i]
	}
	oldest, err := s.rdb.ZRangeWithScores(ctx, s.key.log(d.Subscription), 0, 0).Result()
	if err != nil {
		return fmt.Errorf("reading the log of attempts: %w", err)
	}
	if len(oldest) == 0 {
		return nil
	}
	for i := len(d.Attempts) - 1; i >= 0; i-- {
		if err := search.look(ctx, d.Attempts[i], int64(oldest[0].Score)); err != nil {
			return err
		}
	}
	return nil
}

// detailSearch looks for attempts of one delivery.
type detailSearch struct {
	store    *Store
	delivery *contract.Delivery
	left     int // packs that may still be read
	missing  map[int]*contract.Attempt
}

// look searches from the end of an attempt on; then what comes just before, as clocks have it.
func (s *detailSearch) look(ctx context.Context, a contract.Attempt, oldest int64) error {
	ended := a.At.Add(time.Duration(a.DurationMS) * time.Millisecond)
	if LogAt(ended.Add(writtenWithin)).pack < oldest {
		return nil // the log has lost it
	}
	for _, span := range [][2]string{{placeAt(ended), "+inf"}, {placeAt(ended.Add(-clocksApart)), "(" + placeAt(ended)}} {
		if err := s.walk(ctx, a.Number, span[0], span[1]); err != nil {
			return err
		}
	}
	return nil
}

// writtenWithin is when an attempt is in the log, unless Redis was away.
const writtenWithin = 10 * time.Second

// walk reads packs until it has found an attempt.
func (s *detailSearch) walk(ctx context.Context, number int, from, to string) error {
	for offset := int64(0); s.missing[number] != nil && s.left > 0; offset += detailStep {
		packs, err := s.store.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: s.store.key.log(s.delivery.Subscription), Start: from, Stop: to, ByScore: true, Offset: offset, Count: detailStep,
		}).Result()
		if err != nil {
			return fmt.Errorf("reading the log of attempts: %w", err)
		}
		s.left -= len(packs)
		for _, pack := range packs {
			if err := s.take(pack); err != nil {
				return err
			}
		}
		if len(packs) < detailStep || offset >= 4*detailStep {
			return nil
		}
	}
	return nil
}

func (s *detailSearch) take(pack string) error {
	logged, err := unpack(pack)
	if err != nil {
		return err
	}
	for _, l := range logged {
		found := l.Attempts[0]
		if a := s.missing[found.Number]; l.ID == s.delivery.ID && a != nil {
			a.Request, a.Response, a.Timings = found.Request, found.Response, found.Timings
			delete(s.missing, found.Number)
		}
	}
	return nil
}
