package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// lineLife is how long a line is kept after the last delivery joined it: longer than any wait of a retry schedule.
const lineLife = 8 * 24 * time.Hour

// Place is a delivery's place in a line.
type Place struct{ Line, Delivery string }

// JoinLines lets deliveries join their lines, in the order given. One that stands in its line already keeps its place.
func (s *Store) JoinLines(ctx context.Context, places []Place) error {
	for chunk := range slices.Chunk(places, mostPerScript) {
		if err := s.joinLines(ctx, chunk); err != nil {
			return fmt.Errorf("joining lines: %w", err)
		}
	}
	return nil
}

func (s *Store) joinLines(ctx context.Context, places []Place) error {
	var lines nameSet
	args := []any{int64(lineLife / time.Second), len(places)}
	joining := map[string][]any{}
	for i, p := range places {
		lines.add(p.Line)
		joining[p.Line] = append(joining[p.Line], i+1, p.Delivery)
	}
	keys := []string{s.key.lastPlace()}
	for _, line := range lines.list {
		keys = append(keys, s.key.line(line))
		args = append(append(args, len(joining[line])), joining[line]...)
	}
	return joinLines.Run(ctx, s.rdb, keys, args...).Err()
}

// joinLines
// KEYS 1 last place, then lines. ARGV 1 life in seconds, 2 number of places; for each line: number of entries, place from 1,
// delivery… Output: 1.
var joinLines = redis.NewScript(`
local last, at = redis.call('INCRBY', KEYS[1], ARGV[2]) - ARGV[2], 2
for i = 2, #KEYS do
  local entries = {unpack(ARGV, at + 2, at + 1 + ARGV[at + 1])}
  for j = 1, #entries, 2 do entries[j] = string.format('%.0f', last + entries[j]) end
  redis.call('ZADD', KEYS[i], 'NX', unpack(entries))
  redis.call('EXPIRE', KEYS[i], ARGV[1])
  at = at + 1 + #entries
end
return 1`)

// LeaveLine takes a delivery out of a line.
func (s *Store) LeaveLine(ctx context.Context, line, delivery string) error {
	err := leaveLine.Run(ctx, s.rdb, []string{s.key.line(line), s.key.lineChanges()}, delivery, line).Err()
	if err != nil {
		return fmt.Errorf("leaving a line: %w", err)
	}
	return nil
}

// leaveLine
// KEYS 1 line, 2 channel of lines. ARGV 1 delivery, 2 id of the line. Output: 1 if it was there.
var leaveLine = redis.NewScript(`
local left = redis.call('ZREM', KEYS[1], ARGV[1])
if left == 1 then redis.call('PUBLISH', KEYS[2], ARGV[2]) end
return left`)

// LineChanges tells each line that a delivery left, until ctx ends. It connects again by itself; what happens meanwhile is
// not told.
func (s *Store) LineChanges(ctx context.Context, told func(line string)) error {
	listening := s.rdb.Subscribe(ctx, s.key.lineChanges())
	defer func() { _ = listening.Close() }()
	changes := listening.Channel(redis.WithChannelSize(1000))
	for {
		select {
		case <-ctx.Done():
			return nil
		case change, open := <-changes:
			if !open {
				return errors.New("listening to Redis: the store was closed")
			}
			for line := range strings.SplitSeq(change.Payload, "\n") {
				told(line)
			}
		}
	}
}
