package store

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// traffic counts what is sent to Redis.
type traffic struct{ commands, roundTrips atomic.Uint64 }

// Traffic returns how many commands were sent to Redis, and in how many round trips.
func (s *Store) Traffic() (commands, roundTrips uint64) {
	return s.exchanged.commands.Load(), s.exchanged.roundTrips.Load()
}

func (t *traffic) add(cmds ...redis.Cmder) {
	if len(cmds) == 0 || connects(cmds[0]) {
		return
	}
	t.commands.Add(uint64(len(cmds)))
	t.roundTrips.Add(1)
}

// connects reports whether a command is of those that the library sends by itself on a new connection.
func connects(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return true
	}
	return false
}

func (t *traffic) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t *traffic) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		t.add(cmd)
		return next(ctx, cmd)
	}
}

func (t *traffic) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		t.add(cmds...)
		return next(ctx, cmds)
	}
}
