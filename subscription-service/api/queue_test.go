package api_test

import (
	"context"
	"sync"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// fakeQueue stands for the queue of dead letters, and what is published to it again.
type fakeQueue struct {
	mu       sync.Mutex
	messages []rabbit.Message
	most     int // of one call, 0: all
	err      error
}

func (q *fakeQueue) Depths(_ context.Context, queues ...string) (map[string]int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	depths := map[string]int{}
	for _, name := range queues {
		depths[name] = 0
	}
	depths["test.dead"] = len(q.messages)
	return depths, q.err
}

func (q *fakeQueue) Sift(ctx context.Context, _ string, n int, handle func(context.Context, []rabbit.Message) error) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.messages))
	if q.most > 0 {
		n = min(n, q.most)
	}
	if err := handle(ctx, q.messages[:n]); err != nil {
		return 0, err
	}
	q.messages = q.messages[n:]
	return n, q.err
}

func (q *fakeQueue) put(messages ...rabbit.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, messages...)
}
