package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// seenLife is how long an event is known again.
const seenLife = 24 * time.Hour

// EventKey is what makes an event the same as another.
type EventKey struct{ Resource, Source, ID string }

// digest is short, since there is a key for each event of a day.
func (e EventKey) digest() string { return digest(e.Resource, e.Source, e.ID) }

// digest is the same for the same parts: 16 bytes of their SHA-256.
func digest(parts ...string) string {
	var text []byte
	for _, part := range parts {
		text = append(append(text, part...), 0)
	}
	sum := sha256.Sum256(text)
	return string(sum[:16])
}

// Mark is what is remembered of an event for a day.
type Mark struct {
	Event EventKey
	// Taken is when the listener took the event; milliseconds count.
	Taken time.Time
	// Commands is how many callback commands were confirmed. An event with none does not count as seen.
	Commands int
	// Reason says why the event is a dead letter; empty if it is none.
	Reason string
}

func (m Mark) text() string {
	text := fmt.Sprintf("%d %d", m.Taken.UnixMilli(), m.Commands)
	if m.Reason != "" {
		text += " " + m.Reason
	}
	return text
}

// markOf reads what text wrote.
func markOf(event EventKey, text string) (Mark, error) {
	taken, rest, _ := strings.Cut(text, " ")
	commands, reason, _ := strings.Cut(rest, " ")
	ms, err := strconv.ParseInt(taken, 10, 64)
	n, err2 := strconv.Atoi(commands)
	if err != nil || err2 != nil {
		return Mark{}, fmt.Errorf("an event's mark: %w", ErrDamaged)
	}
	return Mark{event, time.UnixMilli(ms).UTC(), n, reason}, nil
}

// seen asks which of the events were marked as seen within the last 24 h; the answer can be had once the pipeline has been
// executed. A mark that can't be read counts: a second delivery would be worse.
func (s *Store) seen(ctx context.Context, pipe redis.Pipeliner, events []EventKey) (answer func() ([]bool, error)) {
	if len(events) == 0 {
		return func() ([]bool, error) { return nil, nil }
	}
	asked := pipe.MGet(ctx, s.seenKeys(events)...)
	return func() ([]bool, error) {
		marks, err := asked.Result()
		if err != nil {
			return nil, fmt.Errorf("looking for events that were seen: %w", err)
		}
		seen := make([]bool, len(events))
		for i, mark := range marks {
			text, there := mark.(string)
			if !there { // as a rule
				continue
			}
			m, err := markOf(events[i], text)
			seen[i] = err != nil || m.Commands > 0
		}
		return seen, nil
	}
}

// MarkSeen remembers events; Look tells, and Marks.
func (s *Store) MarkSeen(ctx context.Context, marks []Mark) error {
	for chunk := range slices.Chunk(marks, mostPerScript) {
		names, args := make([]string, len(chunk)), []any{int64(seenLife / time.Second)}
		for i, m := range chunk {
			names[i] = s.key.seen(m.Event.digest())
			args = append(args, m.text())
		}
		if err := markSeen.Run(ctx, s.rdb, names, args...).Err(); err != nil {
			return fmt.Errorf("marking events as seen: %w", err)
		}
	}
	return nil
}

// Marks returns what is remembered of events; those of which nothing is are left out.
func (s *Store) Marks(ctx context.Context, events []EventKey) ([]Mark, error) {
	if len(events) == 0 {
		return nil, nil
	}
	texts, err := s.rdb.MGet(ctx, s.seenKeys(events)...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading the marks of events: %w", err)
	}
	var marks []Mark
	for i, event := range events {
		text, there := texts[i].(string)
		if !there {
			continue
		}
		mark, err := markOf(event, text)
		if err != nil {
			return nil, err
		}
		marks = append(marks, mark)
	}
	return marks, nil
}

func (s *Store) seenKeys(events []EventKey) []string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = s.key.seen(e.digest())
	}
	return names
}

// markSeen
// KEYS events. ARGV 1 life in seconds; the mark of each event: when it was taken, in ms, a space, how many commands it had,
// perhaps a space and the reason why it is a dead letter. A mark without commands takes no other's place. Output: 1.
var markSeen = redis.NewScript(`
for i, key in ipairs(KEYS) do
  local mark = ARGV[i + 1]
  if mark:match('^%d+ (%d+)') == '0' then
    redis.call('SET', key, mark, 'EX', ARGV[1], 'NX')
  else
    redis.call('SET', key, mark, 'EX', ARGV[1])
  end
end
return 1`)
