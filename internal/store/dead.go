package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// The dead letters themselves wait in the broker's queue, which nobody can read without taking from it. This is their list: written
// in batches by who gives something up, so that looking costs the broker nothing.
const (
	// mostDead is how many dead letters are listed, the newest.
	mostDead = 100_000
	// deadStep is how many are read at a time, deadScanned how many one page looks at.
	deadStep, deadScanned = 250, 5000
)

// Bury lists dead letters. One that is listed is listed anew, as of now.
func (s *Store) Bury(ctx context.Context, letters []contract.DeadLetter) error {
	for chunk := range slices.Chunk(letters, mostPerScript) {
		args := make([]any, 0, 1+3*len(chunk))
		args = append(args, mostDead)
		for _, l := range chunk {
			args = append(args, l.At.UnixMilli(), l.ID, encode(l))
		}
		if err := bury.Run(ctx, s.rdb, []string{s.key.dead(), s.key.letters()}, args...).Err(); err != nil {
			return fmt.Errorf("listing dead letters: %w", err)
		}
	}
	return nil
}

// bury
// KEYS 1 ids, 2 letters. ARGV 1 most kept; for each letter: ms, id, record. Output: 1.
var bury = redis.NewScript(`
for i = 2, #ARGV, 3 do
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[2], ARGV[i + 1], ARGV[i + 2])
end
local over = math.min(redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1]), 1000)
if over > 0 then
  local popped = redis.call('ZPOPMIN', KEYS[1], over)
  for i = 1, #popped, 2 do redis.call('HDEL', KEYS[2], popped[i]) end
end
return 1`)

// Exhume takes dead letters off the list.
func (s *Store) Exhume(ctx context.Context, ids []string) error {
	for chunk := range slices.Chunk(ids, mostPerScript) {
		members := make([]any, len(chunk))
		for i, id := range chunk {
			members[i] = id
		}
		pipe := s.rdb.TxPipeline()
		pipe.ZRem(ctx, s.key.dead(), members...)
		pipe.HDel(ctx, s.key.letters(), chunk...)
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("taking dead letters off their list: %w", err)
		}
	}
	return nil
}

// DeadQuery asks for dead letters, newest first. What is zero asks for all.
type DeadQuery struct {
	Kind                   contract.DeadKind
	Resource, Subscription string
	// Reason is a part of the reason, in any case.
	Reason       string
	Since, Until time.Time
	Cursor       string
	Limit        int
}

// Matches reports whether a letter is asked for, the times aside.
func (q DeadQuery) Matches(l contract.DeadLetter) bool {
	return (q.Kind == "" || q.Kind == l.Kind) && (q.Resource == "" || q.Resource == l.Resource) &&
		(q.Subscription == "" || q.Subscription == l.Subscription) &&
		(q.Reason == "" || strings.Contains(strings.ToLower(l.Reason), strings.ToLower(q.Reason))) &&
		(q.Since.IsZero() || !l.At.Before(q.Since)) && (q.Until.IsZero() || l.At.Before(q.Until))
}

// DeadLetters returns a page of the list, and the cursor of the next one, "" at the end. Deliveries that are not failed any more, or
// are not known any more, are taken off the list. It looks at a bounded number, so that a page may have fewer than asked for, or none,
// and still a cursor. An unreadable cursor is ErrConflict.
func (s *Store) DeadLetters(ctx context.Context, q DeadQuery) ([]contract.DeadLetter, string, error) {
	page, cursor := make([]contract.DeadLetter, 0, q.Limit), q.start()
	for range deadScanned / deadStep {
		entries, err := s.page(ctx, s.key.dead(), true, cursor, deadStep)
		if err != nil {
			return nil, "", err
		}
		letters, err := s.lettersAt(ctx, entries)
		if err != nil {
			return nil, "", err
		}
		for i, l := range letters {
			if l.ID != "" && q.Matches(l) {
				if len(page) == q.Limit {
					return page, cursor, nil
				}
				page = append(page, l)
			}
			cursor = cursorAt(entries[i])
			if !q.Since.IsZero() && int64(entries[i].Score) < q.Since.UnixMilli() {
				return page, "", nil // all that come are older
			}
		}
		if len(entries) < deadStep {
			return page, "", nil
		}
	}
	return page, cursor, nil
}

// start begins at Until, where there is one.
func (q DeadQuery) start() string {
	if q.Cursor != "" || q.Until.IsZero() {
		return q.Cursor
	}
	return strconv.FormatInt(q.Until.UnixMilli(), 10) + "."
}

// DeadLettersOf returns those of the letters that are listed.
func (s *Store) DeadLettersOf(ctx context.Context, ids []string) ([]contract.DeadLetter, error) {
	letters, err := s.letters(ctx, ids)
	return slices.DeleteFunc(letters, func(l contract.DeadLetter) bool { return l.ID == "" }), err
}

func (s *Store) lettersAt(ctx context.Context, entries []redis.Z) ([]contract.DeadLetter, error) {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.Member.(string)
	}
	return s.letters(ctx, ids)
}

// letters reads letters; one that is of no use any more is zero.
func (s *Store) letters(ctx context.Context, ids []string) ([]contract.DeadLetter, error) {
	letters := make([]contract.DeadLetter, len(ids))
	if len(ids) == 0 {
		return letters, nil
	}
	values, err := s.rdb.HMGet(ctx, s.key.letters(), ids...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", err)
	}
	for i, text := range textsOf(values) {
		if json.Unmarshal([]byte(text), &letters[i]) != nil {
			letters[i] = contract.DeadLetter{}
		}
	}
	return letters, s.dropRisen(ctx, ids, letters)
}

// dropRisen takes off the list what is not dead any more, or can't be told.
func (s *Store) dropRisen(ctx context.Context, ids []string, letters []contract.DeadLetter) error {
	var deliveries []string
	for _, l := range letters {
		if l.Kind == contract.DeadDelivery {
			deliveries = append(deliveries, l.ID)
		}
	}
	records, err := s.Statuses(ctx, deliveries)
	if err != nil {
		return err
	}
	failed := map[string]bool{}
	for i, id := range deliveries {
		failed[id] = records[i] != nil && records[i].Status == contract.DeliveryFailed
	}
	var risen []string
	for i, l := range letters {
		if l.ID == "" || l.Kind == contract.DeadDelivery && !failed[l.ID] {
			risen, letters[i] = append(risen, ids[i]), contract.DeadLetter{}
		}
	}
	return s.Exhume(ctx, risen)
}

// CountDead is about how many dead letters are listed.
func (s *Store) CountDead(ctx context.Context) (int64, error) {
	n, err := s.rdb.ZCard(ctx, s.key.dead()).Result()
	if err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}
