package api

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// mailNews wakes who waits for letters: one listener to Redis for all streams of the process.
type mailNews struct {
	store *store.Store
	log   *zap.Logger

	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{} // by subscription
}

func newMailNews(o Options) *mailNews {
	return &mailNews{store: o.Store, log: o.Log, waiting: map[string]map[chan struct{}]struct{}{}}
}

// run listens until ctx ends.
func (n *mailNews) run(ctx context.Context) error {
	for failures := 1; ctx.Err() == nil; failures++ {
		if err := n.store.MailNews(ctx, n.wake, n.wakeAll); err != nil && ctx.Err() == nil {
			n.log.Warn("not told of letters; mailboxes are looked into from time to time instead", zap.Error(err))
			service.Backoff(ctx, failures)
		}
	}
	return nil
}

// wait returns a channel that is written to when a mailbox may have news, from now until done is called.
func (n *mailNews) wait(subscription string) (news <-chan struct{}, done func()) {
	woken := make(chan struct{}, 1)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting[subscription] == nil {
		n.waiting[subscription] = map[chan struct{}]struct{}{}
	}
	n.waiting[subscription][woken] = struct{}{}
	return woken, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if delete(n.waiting[subscription], woken); len(n.waiting[subscription]) == 0 {
			delete(n.waiting, subscription)
		}
	}
}

func (n *mailNews) wake(subscription string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for woken := range n.waiting[subscription] {
		nudge(woken)
	}
}

func (n *mailNews) wakeAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, all := range n.waiting {
		for woken := range all {
			nudge(woken)
		}
	}
}

func nudge(woken chan struct{}) {
	select {
	case woken <- struct{}{}:
	default: // it is woken already
	}
}
