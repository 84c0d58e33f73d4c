package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// cursorAt names an entry of a sorted set, so that the next page starts after it whatever was added or removed meanwhile.
func cursorAt(entry redis.Z) string {
	return strconv.FormatInt(int64(entry.Score), 10) + "." + entry.Member.(string)
}

// span bounds the scores of a page, which are milliseconds; both ends are included, and a zero time is no bound.
type span struct{ since, until time.Time }

func (s span) edges() (least, most string) {
	least, most = "-inf", "+inf"
	if !s.since.IsZero() {
		least = strconv.FormatInt(s.since.UnixMilli(), 10)
	}
	if !s.until.IsZero() {
		most = strconv.FormatInt(s.until.UnixMilli(), 10)
	}
	return least, most
}

// page reads up to n entries of a sorted set, in its order or newest first, that come after the cursor. An unreadable cursor
// is ErrConflict.
func (s *Store) page(ctx context.Context, key string, newestFirst bool, cursor string, n int) ([]redis.Z, error) {
	return s.pageWithin(ctx, key, newestFirst, span{}, cursor, n)
}

// pageWithin is page of the entries in a span. The cursor is one of such a page.
func (s *Store) pageWithin(ctx context.Context, key string, newestFirst bool, within span, cursor string, n int) ([]redis.Z, error) {
	edge, seen, err := parseCursor(cursor)
	if err != nil {
		return nil, err
	}
	least, most := within.edges()
	query := redis.ZRangeArgs{Key: key, Start: least, Stop: most, ByScore: true, Rev: newestFirst, Count: int64(n)}
	if newestFirst {
		query.Start, query.Stop = most, least // Redis wants them in the order of the walk
	}
	if cursor != "" {
		query.Start = edge
	}
	var found []redis.Z
	for len(found) < n {
		entries, err := s.rdb.ZRangeArgsWithScores(ctx, query).Result()
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		for _, entry := range entries {
			if cursor == "" || !passed(entry, edge, seen, newestFirst) {
				found = append(found, entry)
			}
		}
		if len(entries) < n {
			break
		}
		query.Offset += int64(n)
	}
	return found[:min(len(found), n)], nil
}

// passed reports whether an entry was on an earlier page: entries of one score stand in the order of their names.
func passed(entry redis.Z, edge int64, seen string, newestFirst bool) bool {
	if int64(entry.Score) != edge {
		return false
	}
	if newestFirst {
		return entry.Member.(string) >= seen
	}
	return entry.Member.(string) <= seen
}

func parseCursor(cursor string) (edge int64, seen string, err error) {
	if cursor == "" {
		return 0, "", nil
	}
	score, seen, ok := strings.Cut(cursor, ".")
	edge, err = strconv.ParseInt(score, 10, 64)
	if !ok || err != nil {
		return 0, "", fmt.Errorf("the cursor is not one of ours: %w", ErrConflict)
	}
	return edge, seen, nil
}
