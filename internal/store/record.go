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

// mostAttempts of a delivery are kept, the newest.
const mostAttempts = 100

// Record is the state of a delivery that is to be kept, with the attempts that are new.
type Record struct {
	contract.Delivery

	// Line is where the delivery stands; it leaves it unless its status is pending. Empty unless it is ordered.
	Line string
	// Passed says that it leaves the line though it is pending: those behind it need not wait any longer.
	Passed bool
	// Log says how long and how many deliveries of the subscription are kept; a few more until its list is tended to.
	Log contract.LogPolicy
}

// Record keeps the state of deliveries, each with the attempts that it carries, for as long as its policy says from now or from
// its next attempt. A record of a later attempt stays as it is, and so does one of the same attempt that is final: recording again
// changes nothing. What is done with leaves its line.
func (s *Store) Record(ctx context.Context, records []Record) error {
	for chunk := range slices.Chunk(records, mostPerScript) {
		if err := s.record(ctx, chunk, time.Now()); err != nil {
			return fmt.Errorf("recording deliveries: %w", err)
		}
	}
	return nil
}

func (s *Store) record(ctx context.Context, records []Record, now time.Time) error {
	lists := s.listsOf(records, now)
	names := make([]string, 0, len(records)+2*len(lists))
	args := make([]any, 0, 5+5*len(records)+4*len(lists))
	args = append(args, len(records), s.key.delivery(""), s.key.line(""), s.key.lineChanges(), mostAttempts)
	for _, r := range records {
		names = append(names, s.key.delivery(r.ID))
		args = append(args, recordText(r.Delivery), int64(r.life()/time.Second), r.leaves())
	}
	for _, l := range lists {
		names = append(names, s.key.subscription(l.subscription))
		args = append(append(args, l.tend, int64(l.life()/time.Second), l.policy.Deliveries(), len(l.entries)), l.entries...)
	}
	for _, l := range lists {
		names = append(names, s.key.deliveries(l.subscription))
	}
	if err := recordDeliveries.Run(ctx, s.rdb, names, args...).Err(); err != nil {
		return err
	}
	for _, l := range lists {
		s.lists.got(l.subscription, len(l.entries)/2, now, l.tend)
	}
	return nil
}

// leaves is the line and who leaves it, "" if nobody does.
func (r Record) leaves() string {
	if r.Line == "" || r.Status == contract.DeliveryPending && !r.Passed {
		return ""
	}
	return r.Line + " " + r.ID
}

// listed are the deliveries that a subscription's list gets.
type listed struct {
	subscription string
	policy       contract.LogPolicy
	tend         bool
	entries      []any // created ms, id…
}

func (s *Store) listsOf(records []Record, now time.Time) []*listed {
	var lists []*listed
	of := make(map[string]*listed, len(records))
	for _, r := range records {
		l := of[r.Subscription]
		if l == nil {
			l = &listed{subscription: r.Subscription, policy: r.Log}
			of[r.Subscription] = l
			lists = append(lists, l)
		}
		l.entries = append(l.entries, r.CreatedAt.UnixMilli(), r.ID)
	}
	for _, l := range lists {
		l.tend = s.lists.due(l.subscription, len(l.entries)/2, now)
	}
	return lists
}

// life is how long a record is kept: a pending one must not end before its next attempt.
func (r Record) life() time.Duration {
	return r.Log.Age() + min(max(0, r.NextAttempt.Sub(r.UpdatedAt)), contract.MaxRetryWait)
}

// life is longer than that of any record.
func (l *listed) life() time.Duration { return l.policy.Age() + contract.MaxRetryWait + tendAfter }

// recordDeliveries
// KEYS n deliveries, then m subscriptions, then their m lists.
// ARGV 1 n, 2 prefix of deliveries, 3 prefix of lines, 4 channel of lines, 5 most attempts kept; for each delivery: record, life in
// seconds, "" or the line and the id to leave it; for each list: 1 to tend to it, its life in seconds, most kept of it, number of
// entries, created ms, id…
// Output: 1. Each delivery is one text, see recordText: a hash would take three times the commands.
var recordDeliveries = redis.NewScript(`
local n, at = tonumber(ARGV[1]), 5
local m = (#KEYS - n) / 2
local form = '^(%d+) (%a*)(\n[^\n]*\n)(.*)$'

local function merged(old, new)
  local lines, numbers = {}, {}
  for number, line in string.gmatch(old .. new, '(%d+)( [^\n]*\n)') do
    number = tonumber(number)
    if not lines[number] then numbers[#numbers + 1] = number end
    lines[number] = number .. line
  end
  table.sort(numbers)
  local kept = {}
  for i = math.max(1, #numbers - tonumber(ARGV[5]) + 1), #numbers do kept[#kept + 1] = lines[numbers[i]] end
  return table.concat(kept)
end

local function tend(list, life, most)
  redis.call('EXPIRE', list, life)
  local over = math.min(redis.call('ZCARD', list) - tonumber(most), 1000)
  if over <= 0 then return end
  local popped, names, done = redis.call('ZPOPMIN', list, over), {}, {}
  for i = 1, #popped, 2 do names[#names + 1] = ARGV[2] .. popped[i] end
  for i, text in ipairs(redis.call('MGET', unpack(names))) do
    local status = text and string.match(text, '^%d+ (%a+)\n')
    if status == 'succeeded' or status == 'canceled' then done[#done + 1] = names[i] end
  end
  if #done > 0 then redis.call('UNLINK', unpack(done)) end
end

local stored, left = {}, {}
for i, text in ipairs(redis.call('MGET', unpack(KEYS, 1, n))) do stored[KEYS[i]] = text end
for i = 1, n do
  local text, life, leaves = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 3
  local later, open = 1, false
  if stored[KEYS[i]] then
    local before, state, _, tried = string.match(stored[KEYS[i]], form)
    if before then
      local count, status, head, attempts = string.match(text, form)
      later, open = tonumber(count) - tonumber(before), state == 'pending'
      text = count .. ' ' .. status .. head .. merged(tried, attempts)
    end
  end
  if later > 0 or later == 0 and open then
    stored[KEYS[i]] = text
    redis.call('SET', KEYS[i], text, 'EX', life)
  end
  if leaves ~= '' and later >= 0 then
    local line, id = string.match(leaves, '^(%S+) (.*)$')
    if redis.call('ZREM', ARGV[3] .. line, id) == 1 then left[#left + 1] = line end
  end
end

local all = redis.call('EXISTS', unpack(KEYS, n + 1, n + m)) == m
for i = 1, m do
  local due, entries = ARGV[at + 1], tonumber(ARGV[at + 4])
  if all or redis.call('EXISTS', KEYS[n + i]) == 1 then
    redis.call('ZADD', KEYS[n + m + i], unpack(ARGV, at + 5, at + 4 + entries))
    if due == '1' then tend(KEYS[n + m + i], ARGV[at + 2], ARGV[at + 3]) end
  end
  at = at + 4 + entries
end
if #left > 0 then redis.call('PUBLISH', ARGV[4], table.concat(left, '\n')) end
return 1`)

// recordText is what is kept of a delivery: its attempt count and status, which the script reads; its head, which is the
// delivery without attempts; then each attempt after its number. One line each.
func recordText(d contract.Delivery) string {
	attempts := d.Attempts
	d.Attempts = nil
	var text strings.Builder
	text.WriteString(strconv.Itoa(d.AttemptCount) + " " + string(d.Status) + "\n" + encode(d) + "\n")
	for _, a := range attempts {
		text.WriteString(strconv.Itoa(a.Number) + " " + encode(a) + "\n")
	}
	return text.String()
}

// headOf reads a record without its attempts.
func headOf(text string) (*contract.Delivery, error) {
	_, text, _ = strings.Cut(text, "\n")
	text, _, _ = strings.Cut(text, "\n")
	d, err := decode[contract.Delivery](text, nil, "delivery")
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// deliveryOf reads a record with its attempts.
func deliveryOf(text string) (contract.Delivery, error) {
	d, err := headOf(text)
	if err != nil {
		return contract.Delivery{}, err
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if i < 2 { // the count and the head
			continue
		}
		_, line, _ = strings.Cut(line, " ")
		var a contract.Attempt
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return contract.Delivery{}, fmt.Errorf("reading an attempt: %w: %w", ErrDamaged, err)
		}
		d.Attempts = append(d.Attempts, a)
	}
	return *d, nil
}
