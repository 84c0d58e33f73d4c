package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// scrape is the sum of a metric over all its labels; zero if the process has none of that name.
func scrape(ctx context.Context, url, name string) (float64, error) {
	sum, err := world.Metric(ctx, url, name)
	if errors.Is(err, world.ErrNoMetric) {
		return 0, nil
	}
	return sum, err
}

// poll asks until it is so.
func poll(ctx context.Context, atMost time.Duration, otherwise string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if ok, err := so(); ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", otherwise, ctx.Err())
		}
	}
}
