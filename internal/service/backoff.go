package service

import (
	"context"
	"time"
)

// Backoff waits after the n-th failure in a row, counted from 1: 100 ms, then twice as long each time, at most 5 s. It returns
// early when ctx ends.
func Backoff(ctx context.Context, n int) {
	Pause(ctx, min(5*time.Second, 100*time.Millisecond<<min(n-1, 10)))
}

// Pause waits, or returns early when ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Every does it once in each period until ctx ends, for the first time when one is over.
func Every(ctx context.Context, period time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do(ctx)
		}
	}
}
