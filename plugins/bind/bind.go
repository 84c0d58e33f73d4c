// Package bind gets a port that another process may still hold: after a reload of the gateway the runner before this one ends
// only when its calls have.
package bind

import (
	"context"
	"net"
	"time"
)

// every is how long to wait between tries.
const every = 50 * time.Millisecond

// Listen takes an address, and while it can't be had tries again until ctx ends. waits is told of the first failure.
func Listen(ctx context.Context, address string, waits func(error)) (net.Listener, error) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var lc net.ListenConfig
	for try := 0; ; try++ {
		listener, err := lc.Listen(ctx, "tcp", address)
		if err == nil {
			return listener, nil
		}
		if try == 0 && ctx.Err() == nil {
			waits(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
}
