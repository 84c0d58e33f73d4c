package store

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// traffic counts what is sent to Redis.
type traffic struct {
	commands, roundTrips, failed, dialled atomic.Uint64
	took                                  prometheus.Histogram
}

// Traffic returns how many commands were sent to Redis, and in how many round trips.
func (s *Store) Traffic() (commands, roundTrips uint64) {
	return s.exchanged.commands.Load(), s.exchanged.roundTrips.Load()
}

// count takes a round trip in.
func (t *traffic) count(cmds []redis.Cmder, took time.Duration, err error) {
	t.commands.Add(uint64(len(cmds)))
	t.roundTrips.Add(1)
	if failed(err) {
		t.failed.Add(1)
	}
	if !waits(cmds[0]) {
		t.took.Observe(took.Seconds())
	}
}

// ended says of a round trip's span what was done, and never with which keys or values.
func ended(span tracing.Span, operation string, n int, err error) {
	if span.Recording() {
		span.Set(tracing.Redis(operation, n)...)
	}
	if failed(err) {
		span.Fail("redis")
	}
	span.End()
}

// failed leaves out what is an answer, and callers who went away.
func failed(err error) bool {
	return err != nil && !errors.Is(err, redis.Nil) && !errors.Is(err, context.Canceled) && !redis.HasErrorPrefix(err, "NOSCRIPT")
}

// waits reports whether a command may wait at Redis by intention: its time says nothing of Redis.
func waits(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "xread", "xreadgroup", "blpop", "brpop", "blmove", "bzpopmin":
		return true
	}
	return false
}

// connects reports whether a command is of those that the library sends by itself on a new connection.
func connects(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "auth", "select", "client":
		return true
	}
	return false
}

func (t *traffic) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		t.dialled.Add(1)
		return next(ctx, network, address)
	}
}

func (t *traffic) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if connects(cmd) {
			return next(ctx, cmd)
		}
		ctx, span := tracing.Step(ctx, tracing.Client, cmd.Name())
		begin := time.Now()
		err := next(ctx, cmd)
		t.count([]redis.Cmder{cmd}, time.Since(begin), err)
		ended(span, cmd.Name(), 1, err)
		return err
	}
}

func (t *traffic) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) == 0 || connects(cmds[0]) {
			return next(ctx, cmds)
		}
		ctx, span := tracing.Step(ctx, tracing.Client, "pipeline")
		begin := time.Now()
		err := next(ctx, cmds)
		t.count(cmds, time.Since(begin), err)
		ended(span, "pipeline", len(cmds), err)
		return err
	}
}
