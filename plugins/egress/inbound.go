package egress

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

var errClosed = errors.New("the call is over")

// inbound is the body on its way from the gateway to the endpoint. The transport may go on reading after its round trip;
// Close stops that, so that the handler can have the rest, and leaves the body itself open.
type inbound struct {
	from io.Reader
	// broken is set once the gateway's side fails.
	broken atomic.Bool

	mu     sync.Mutex
	closed bool
}

func (b *inbound) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errClosed
	}
	n, err := b.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.broken.Store(true)
	}
	return n, err
}

func (b *inbound) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}
