package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// replayLife is how long a replay is known after it last moved.
const replayLife = 7 * 24 * time.Hour

// CreateReplay keeps a new replay, or returns the one that runs and asks for the same: of the same subscription, with the same
// bounds, status and delivery. ErrFull: MostReplays of the subscription run.
func (s *Store) CreateReplay(ctx context.Context, r contract.Replay) (kept contract.Replay, created bool, err error) {
	text, err := createReplay.Run(ctx, s.rdb, []string{s.key.replay(r.Subscription, r.ID), s.key.replaying(asks(r)), s.key.replaysOf(r.Subscription)},
		encode(r), r.ID, int64(replayLife/time.Second), s.key.replay(r.Subscription, ""), MostReplays, r.CreatedAt.Unix()).Text()
	switch {
	case err != nil:
		return contract.Replay{}, false, fmt.Errorf("writing the replay: %w", err)
	case text == "":
		return r, true, nil
	case text == "full":
		return contract.Replay{}, false, fmt.Errorf("%d replays of the subscription run: wait until one is done: %w", MostReplays, ErrFull)
	}
	kept, err = decode[contract.Replay](text, nil, "replay")
	return kept, false, err
}

// MostReplays is how many replays of a subscription may run at a time: each reads the archive.
const MostReplays = 100

// createReplay
// KEYS 1 replay, 2 id of the running one that asks for the same, 3 the subscription's running replays. ARGV 1 record, 2 id, 3 life in
// seconds, 4 prefix of the subscription's replays, 5 most of them, 6 now in seconds.
// Output: the record of the one that runs; "" if it is ours; "full" if there are as many as may be.
var createReplay = redis.NewScript(`
local same = redis.call('GET', KEYS[2])
local running = same and redis.call('GET', ARGV[4] .. same)
if running then return running end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', ARGV[6] - ARGV[3])
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then return 'full' end
redis.call('ZADD', KEYS[3], ARGV[6], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
return ''`)

// asks is the same for replays that ask for the same thing.
func asks(r contract.Replay) string {
	bounds := r.Since.UTC().Format(time.RFC3339Nano) + " " + r.Until.UTC().Format(time.RFC3339Nano)
	return hex.EncodeToString([]byte(digest(r.Subscription, bounds, string(r.Status), r.Delivery)))
}

// Replay returns one replay of a subscription, or ErrNotFound.
func (s *Store) Replay(ctx context.Context, subscription, id string) (contract.Replay, error) {
	text, err := s.rdb.Get(ctx, s.key.replay(subscription, id)).Result()
	return decode[contract.Replay](text, err, "replay")
}

// SaveReplay keeps how far a replay got. Once it does not run any more, another may ask for the same.
func (s *Store) SaveReplay(ctx context.Context, r contract.Replay) error {
	err := saveReplay.Run(ctx, s.rdb, []string{s.key.replay(r.Subscription, r.ID), s.key.replaying(asks(r)), s.key.replaysOf(r.Subscription)},
		encode(r), r.ID, int64(replayLife/time.Second), r.State == contract.ReplayRunning).Err()
	if err != nil {
		return fmt.Errorf("writing the replay: %w", err)
	}
	return nil
}

// saveReplay
// KEYS 1 replay, 2 id of the running one that asks for the same, 3 the subscription's running replays.
// ARGV 1 record, 2 id, 3 life in seconds, 4 1 while it runs.
// Output: 1.
var saveReplay = redis.NewScript(`
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
if ARGV[4] ~= '1' then redis.call('ZREM', KEYS[3], ARGV[2]) end
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 1 end
if ARGV[4] == '1' then redis.call('EXPIRE', KEYS[2], ARGV[3]) else redis.call('DEL', KEYS[2]) end
return 1`)
