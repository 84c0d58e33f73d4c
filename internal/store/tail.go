package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// tailStep is how many packs of a log are read at a time.
const tailStep = 16

// LogPosition is a place in a log of attempts: that of the next one to read. The zero value is the beginning.
type LogPosition struct {
	pack int64
	nth  int
}

// String writes what ParseLogPosition reads.
func (p LogPosition) String() string {
	return strconv.FormatInt(p.pack, 10) + "." + strconv.Itoa(p.nth)
}

// Before reports whether another position comes later.
func (p LogPosition) Before(other LogPosition) bool {
	return p.pack < other.pack || p.pack == other.pack && p.nth < other.nth
}

// ParseLogPosition reads a position. One that can't be read is ErrConflict.
func ParseLogPosition(text string) (p LogPosition, err error) {
	pack, nth, _ := strings.Cut(text, ".")
	if p.pack, err = strconv.ParseInt(pack, 10, 64); err == nil {
		p.nth, err = strconv.Atoi(nth)
	}
	if err != nil || p.pack < 0 || p.nth < 0 {
		return LogPosition{}, fmt.Errorf("the position in the log: %w", ErrConflict)
	}
	return p, nil
}

// Tailing asks for what is new in a subscription's log.
type Tailing struct {
	Subscription string
	From         LogPosition
}

// Logged is an attempt in its log.
type Logged struct {
	// Delivery is as it stood after the attempt, with that attempt alone.
	Delivery contract.Delivery
	// Next is the position after it.
	Next LogPosition
}

// LogEnd is the position of what will be logged from now on, by Redis's clock.
func (s *Store) LogEnd(ctx context.Context) (LogPosition, error) {
	now, err := s.rdb.Time(ctx).Result()
	if err != nil {
		return LogPosition{}, fmt.Errorf("asking Redis for the time: %w", err)
	}
	return LogAt(now), nil
}

// LogAt is the position that a time has.
func LogAt(t time.Time) LogPosition {
	return LogPosition{pack: max(0, t.Sub(logEpoch).Microseconds()*packsPerCall)}
}

// Tail reads what is new in several logs, in one round trip, in the order asked and the oldest first. There may be more.
func (s *Store) Tail(ctx context.Context, asked []Tailing) ([][]Logged, error) {
	pipe := s.rdb.Pipeline()
	read := make([]*redis.ZSliceCmd, len(asked))
	for i, a := range asked {
		read[i] = pipe.ZRangeByScoreWithScores(ctx, s.key.log(a.Subscription), &redis.ZRangeBy{Min: strconv.FormatInt(a.From.pack, 10), Max: "+inf", Count: tailStep})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("reading logs of attempts: %w", err)
	}
	all := make([][]Logged, len(asked))
	for i, cmd := range read {
		for _, entry := range cmd.Val() {
			logged, err := loggedIn(entry, asked[i].From) // #nosec G602 -- there is one of each
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], logged...)
		}
	}
	return all, nil
}

// loggedIn are the attempts of a pack from a position on.
func loggedIn(entry redis.Z, from LogPosition) ([]Logged, error) {
	found, err := unpack(entry.Member.(string))
	if err != nil {
		return nil, err
	}
	at := int64(entry.Score)
	logged := make([]Logged, 0, len(found))
	for i, d := range found {
		next := LogPosition{at, i + 1}
		if i == len(found)-1 {
			next = LogPosition{at + 1, 0}
		}
		if at > from.pack || i >= from.nth {
			logged = append(logged, Logged{d, next})
		}
	}
	return logged, nil
}
