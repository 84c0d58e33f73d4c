package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// A mailbox has a letter for each delivery that waits to be collected, in the order in which they came. The place of a letter is its
// id to the consumer: a time in microseconds, and later than the one before, so that places only grow, whatever Redis loses.

// Deposit is a letter for a mailbox.
type Deposit struct {
	contract.Letter
	// Subscription and Resource are whose mailbox it is.
	Subscription, Resource string
}

// Deposited is what became of a letter.
type Deposited int

// What can become of a letter.
const (
	LetterNoRoom   Deposited = iota // the mailbox is full: try again later
	LetterThere                     // it is in the mailbox, now or already
	LetterTooLarge                  // it would not fit into an empty one
	LetterGone                      // there is no such subscription any more
)

// Deposit puts letters into mailboxes, in one round trip and in the order given. One that is there already, of the same attempt or a
// later one, stays as it is. What a mailbox holds is bounded by the resource's policy: after the first letter that finds no room
// the others of that mailbox find none either.
func (s *Store) Deposit(ctx context.Context, deposits []Deposit) ([]Deposited, error) {
	var of []string
	boxes := map[string][]int{}
	for i, d := range deposits {
		if boxes[d.Subscription] == nil {
			of = append(of, d.Subscription)
		}
		boxes[d.Subscription] = append(boxes[d.Subscription], i)
	}
	var cmds []*redis.Cmd
	err := s.pipelined(ctx, depositLetters, func(pipe redis.Pipeliner) {
		cmds = cmds[:0]
		for _, sub := range of {
			cmds = append(cmds, s.deposit(ctx, pipe, sub, boxes[sub], deposits))
		}
	})
	if err != nil {
		return nil, fmt.Errorf("putting letters into mailboxes: %w", err)
	}
	became := make([]Deposited, len(deposits))
	for n, sub := range of {
		answers, err := cmds[n].Int64Slice()
		if err != nil {
			return nil, fmt.Errorf("putting letters into a mailbox: %w", err)
		}
		for i, at := range boxes[sub] {
			became[at] = LetterGone
			if i < len(answers) {
				became[at] = Deposited(answers[i])
			}
		}
	}
	return became, nil
}

func (s *Store) deposit(ctx context.Context, pipe redis.Pipeliner, sub string, at []int, deposits []Deposit) *redis.Cmd {
	args := []any{
		sub, deposits[at[0]].Resource, contract.DefaultMailboxBytes, contract.MaxLetters, sweepFirst.Milliseconds(),
		int(LetterNoRoom), int(LetterThere), int(LetterTooLarge),
	}
	for _, i := range at {
		head, content := deposits[i].Encode()
		args = append(args, deposits[i].Command.Delivery, deposits[i].Command.Attempt, head, content)
	}
	return depositLetters.EvalSha(ctx, pipe, append(s.mailKeys(sub), s.key.subscription(sub), s.key.policies(), s.key.mailNews()), args...)
}

// mailKeys are the first keys of the scripts below.
func (s *Store) mailKeys(sub string) []string {
	return []string{s.key.mailbox(sub), s.key.mailHeads(sub), s.key.mailContents(sub), s.key.mailboxes()}
}

// sweepFirst is when to look the first time for what is too old: who is told its policy knows when next.
const sweepFirst = time.Second

// letterOverhead is about what Redis needs for a letter beside its texts, in bytes.
const letterOverhead = "200"

// depositLetters
// KEYS 1 mailbox, 2 heads, 3 contents, 4 mailboxes, 5 subscription, 6 policies, 7 channel of mail.
// ARGV 1 subscription, 2 resource, 3 most bytes unless the policy says otherwise, 4 most letters, 5 ms until the first sweep, 6 to 8 answers:
// no room, there, too large; for each letter: delivery, attempt, head, content.
// Output: an answer for each letter; none if the subscription is gone. A head is "place bytes ms attempt", then on a line of its own
// what it was given.
var depositLetters = redis.NewScript(`
if redis.call('EXISTS', KEYS[5]) == 0 then return {} end
local most = tonumber(ARGV[3])
local policy = redis.call('HGET', KEYS[6], ARGV[2])
local own = policy and string.find(policy, '"mailbox"', 1, true) and cjson.decode(policy).mailbox
if type(own) == 'table' and tonumber(own.max_bytes) then most = tonumber(own.max_bytes) end
local time = redis.call('TIME')
local now, ms = time[1] * 1000000 + time[2], time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = tonumber(redis.call('HGET', KEYS[2], '#bytes') or '0')
local last = tonumber(redis.call('HGET', KEYS[2], '#last') or '0')
local count, full, came, answers = redis.call('ZCARD', KEYS[1]), false, 0, {}
for i = 1, (#ARGV - 8) / 4 do
  local id, attempt, head, content = unpack(ARGV, 5 + 4 * i, 8 + 4 * i)
  local size = #id + #head + #content + ` + letterOverhead + `
  local there = redis.call('HGET', KEYS[2], id)
  local _, before, _, tried = string.match(there or '', '^(%d+) (%d+) (%d+) (%d+)\n')
  if there and tonumber(tried) >= tonumber(attempt) then
    answers[i] = tonumber(ARGV[7])
  elseif size > most then
    answers[i] = tonumber(ARGV[8])
  elseif full or bytes + size > most or count >= tonumber(ARGV[4]) then
    full, answers[i] = true, tonumber(ARGV[6])
  else
    if there then
      redis.call('ZREM', KEYS[1], id)
      bytes, count = bytes - before, count - 1
    end
    last = math.max(last + 1, now)
    local place = string.format('%.0f', last)
    redis.call('ZADD', KEYS[1], place, id)
    redis.call('HSET', KEYS[2], id, place .. ' ' .. size .. ' ' .. string.format('%.0f', ms) .. ' ' .. attempt .. '\n' .. head)
    redis.call('HSET', KEYS[3], id, content)
    bytes, count, came, answers[i] = bytes + size, count + 1, came + 1, tonumber(ARGV[7])
  end
end
if came > 0 then
  redis.call('HSET', KEYS[2], '#bytes', string.format('%.0f', bytes), '#last', string.format('%.0f', last))
  redis.call('ZADD', KEYS[4], 'NX', string.format('%.0f', ms + ARGV[5]), ARGV[1])
  redis.call('PUBLISH', KEYS[7], ARGV[1])
end
return answers`)

// Kept is a letter in its mailbox.
type Kept struct {
	contract.Letter

	Place int64
	Since time.Time
}

// Letters returns the subscription, and the letters of its mailbox after a place, in order: at most so many letters and, unless the
// first alone has more, bytes; in one round trip. ErrNotFound: the subscription is gone.
func (s *Store) Letters(ctx context.Context, sub string, after int64, most, bytes int) (*contract.Subscription, []Kept, error) {
	var record *redis.StringCmd
	var letters *redis.Cmd
	err := s.pipelined(ctx, readLetters, func(pipe redis.Pipeliner) {
		record = pipe.Get(ctx, s.key.subscription(sub))
		letters = readLetters.EvalSha(ctx, pipe, s.mailKeys(sub)[:3], after, most, bytes)
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, nil, fmt.Errorf("reading a mailbox: %w", err)
	}
	if errors.Is(record.Err(), redis.Nil) {
		return nil, nil, fmt.Errorf("subscription: %w", ErrNotFound)
	}
	found, err := s.subs.of(sub, record.Val(), s.parseSubscription)
	if err != nil {
		return nil, nil, err
	}
	texts, err := letters.StringSlice()
	if err != nil {
		return nil, nil, fmt.Errorf("reading a mailbox: %w", err)
	}
	kept := make([]Kept, 0, len(texts)/2)
	for i := 0; i+1 < len(texts); i += 2 {
		if letter, err := keptOf(texts[i], texts[i+1]); err == nil { // one that is damaged holds no other up: it will be too old some day
			kept = append(kept, letter)
		}
	}
	return found, kept, nil
}

// readLetters
// KEYS 1 mailbox, 2 heads, 3 contents. ARGV 1 place before the first, 2 most letters, 3 most bytes. Output: head, content…
var readLetters = redis.NewScript(`
local out, bytes = {}, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'LIMIT', 0, ARGV[2])) do
  bytes = bytes + redis.call('HSTRLEN', KEYS[3], id)
  if #out > 0 and bytes > tonumber(ARGV[3]) then break end
  out[#out + 1] = redis.call('HGET', KEYS[2], id) or ''
  out[#out + 1] = redis.call('HGET', KEYS[3], id) or ''
end
return out`)

// Waiting is what is known of a letter without what is in it.
type Waiting struct {
	Delivery string
	Place    int64
	Since    time.Time
	Command  contract.Command // its event has no data
	Err      error            // ErrDamaged: the command can't be read
}

// WaitingUpTo returns the first n letters of a mailbox up to a place.
func (s *Store) WaitingUpTo(ctx context.Context, sub string, place int64, n int) ([]Waiting, error) {
	return s.waiting(ctx, sub, "upto", place, n)
}

// WaitingAt returns the letters at these places of a mailbox, those that are there, in order.
func (s *Store) WaitingAt(ctx context.Context, sub string, places []int64) ([]Waiting, error) {
	var all []Waiting
	for chunk := range slices.Chunk(places, mostPerScript) {
		args := []any{"at"}
		for _, place := range chunk {
			args = append(args, place)
		}
		found, err := s.waiting(ctx, sub, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Store) waiting(ctx context.Context, sub string, args ...any) ([]Waiting, error) {
	texts, err := readHeads.Run(ctx, s.rdb, s.mailKeys(sub)[:2], args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("reading the heads of letters: %w", err)
	}
	waiting := make([]Waiting, 0, len(texts)/2)
	for i := 0; i+1 < len(texts); i += 2 {
		waiting = append(waiting, waitingOf(texts[i], texts[i+1]))
	}
	return waiting, nil
}

func waitingOf(id, text string) (w Waiting) {
	var head string
	w.Delivery = id
	if w.Place, w.Since, head, w.Err = markedOf(text); w.Err != nil {
		return w
	}
	var err error
	if w.Command, err = contract.DecodeLetterHead([]byte(head)); err != nil {
		w.Err = fmt.Errorf("reading a letter: %w: %w", ErrDamaged, err)
	}
	return w
}

// readHeads
// KEYS 1 mailbox, 2 heads. ARGV 1 "upto", then place, most; or 1 "at", then places. Output: delivery, head…
var readHeads = redis.NewScript(`
local ids, out = {}, {}
if ARGV[1] == 'upto' then
  ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
else
  for i = 2, #ARGV do ids[#ids + 1] = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])[1] end
end
for _, id in ipairs(ids) do
  out[#out + 1] = id
  out[#out + 1] = redis.call('HGET', KEYS[2], id) or ''
end
return out`)

// LastPlace returns the highest place that a mailbox ever gave; zero for none.
func (s *Store) LastPlace(ctx context.Context, sub string) (int64, error) {
	last, err := s.rdb.HGet(ctx, s.key.mailHeads(sub), "#last").Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("reading the last place of a mailbox: %w", err)
	}
	return last, nil
}

// TakeOut removes letters from a mailbox, those that are there still and in their places, and returns how many are left.
func (s *Store) TakeOut(ctx context.Context, sub string, letters []Waiting) (left int64, err error) {
	for chunk := range slices.Chunk(letters, mostPerScript) {
		args := []any{sub}
		for _, w := range chunk {
			args = append(args, w.Delivery, w.Place)
		}
		if left, err = takeLettersOut.Run(ctx, s.rdb, s.mailKeys(sub), args...).Int64(); err != nil {
			return 0, fmt.Errorf("taking letters out of a mailbox: %w", err)
		}
	}
	if len(letters) > 0 {
		return left, nil
	}
	if left, err = s.rdb.ZCard(ctx, s.key.mailbox(sub)).Result(); err != nil {
		return 0, fmt.Errorf("counting letters: %w", err)
	}
	return left, nil
}

// takeLettersOut
// KEYS 1 mailbox, 2 heads, 3 contents, 4 mailboxes. ARGV 1 subscription; for each letter: delivery, place. Output: how many are left.
var takeLettersOut = redis.NewScript(`
local freed = 0
for i = 2, #ARGV, 2 do
  local head = redis.call('HGET', KEYS[2], ARGV[i])
  local place, size = string.match(head or '', '^(%d+) (%d+) ')
  if place == ARGV[i + 1] then
    redis.call('ZREM', KEYS[1], ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    redis.call('HDEL', KEYS[3], ARGV[i])
    freed = freed + size
  end
end
local left = redis.call('ZCARD', KEYS[1])
if freed > 0 then redis.call('HSET', KEYS[2], '#bytes', string.format('%.0f', math.max(0, redis.call('HGET', KEYS[2], '#bytes') - freed))) end
if left == 0 then redis.call('ZREM', KEYS[4], ARGV[1]) end
return left`)

// MailboxesToSweep returns up to n subscriptions in whose mailboxes to look by now for what is too old. Each is the caller's for the
// lease.
func (s *Store) MailboxesToSweep(ctx context.Context, now time.Time, lease time.Duration, n int) ([]string, error) {
	ids, err := s.claim(ctx, s.key.mailboxes(), now, lease, n)
	if err != nil {
		return nil, fmt.Errorf("reading which mailboxes to sweep: %w", err)
	}
	return ids, nil
}

// SweepAgain says when to look into a mailbox again. An empty one, which has been left out, stays so.
func (s *Store) SweepAgain(ctx context.Context, sub string, at time.Time) error {
	if err := s.rdb.ZAddXX(ctx, s.key.mailboxes(), redis.Z{Score: float64(at.UnixMilli()), Member: sub}).Err(); err != nil {
		return fmt.Errorf("noting when to sweep a mailbox: %w", err)
	}
	return nil
}

// ForgetMailbox removes what is left of the mailbox of a subscription that is gone.
func (s *Store) ForgetMailbox(ctx context.Context, sub string) error {
	pipe := s.rdb.Pipeline()
	pipe.Unlink(ctx, s.mailKeys(sub)[:3]...)
	pipe.ZRem(ctx, s.key.mailboxes(), sub)
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("removing a mailbox: %w", err)
	}
	return nil
}

// MailNews tells of each subscription whose mailbox got letters or is gone, until ctx ends. It connects again by itself, and tells
// by missed each time that it is connected: what happened before was not told.
func (s *Store) MailNews(ctx context.Context, told func(sub string), missed func()) error {
	listening := s.rdb.Subscribe(ctx, s.key.mailNews())
	defer func() { _ = listening.Close() }()
	news := listening.ChannelWithSubscriptions(redis.WithChannelSize(1000))
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, open := <-news:
			if !open {
				return errors.New("listening to Redis: the store was closed")
			}
			switch m := m.(type) {
			case *redis.Message:
				told(m.Payload)
			case *redis.Subscription:
				missed()
			}
		}
	}
}

func keptOf(text, content string) (Kept, error) {
	place, since, head, err := markedOf(text)
	if err != nil {
		return Kept{}, err
	}
	letter, err := contract.DecodeLetter([]byte(head), []byte(content))
	if err != nil {
		return Kept{}, fmt.Errorf("reading a letter: %w: %w", ErrDamaged, err)
	}
	return Kept{letter, place, since}, nil
}

func markedOf(text string) (place int64, since time.Time, head string, err error) {
	line, head, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) != 4 {
		return 0, since, "", fmt.Errorf("reading a letter: %w", ErrDamaged)
	}
	place, err = strconv.ParseInt(fields[0], 10, 64)
	ms, err2 := strconv.ParseInt(fields[2], 10, 64)
	if err = errors.Join(err, err2); err != nil {
		return 0, since, "", fmt.Errorf("reading a letter: %w: %w", ErrDamaged, err)
	}
	return place, time.UnixMilli(ms).UTC(), head, nil
}
