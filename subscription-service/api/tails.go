package api

import (
	"context"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// tailEvery is how often logs are looked at that somebody watches, tailPatience how long Redis has to answer.
	tailEvery, tailPatience = 500 * time.Millisecond, 2 * time.Second
	// tailAhead is how many reads a viewer may be behind. One that is further behind reads by itself again.
	tailAhead = 8
)

// tails read the logs of attempts for all viewers at once: one round trip for each look, however many subscriptions are watched and
// by however many.
type tails struct {
	store *store.Store

	mu      sync.Mutex
	logs    map[string]*tail
	waiting chan struct{} // somebody watches
}

// tail is a log that is watched.
type tail struct {
	next    store.LogPosition
	viewers map[*viewer]struct{}
}

// viewer gets what is new. Its channel is closed when it can't keep up.
type viewer struct{ news chan []store.Logged }

func newTails(s *store.Store) *tails {
	return &tails{store: s, logs: map[string]*tail{}, waiting: make(chan struct{}, 1)}
}

// run looks at the logs until the context ends; at none while nobody watches.
func (t *tails) run(ctx context.Context) error {
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.waiting:
		}
		for asked := t.watched(); len(asked) > 0; asked = t.watched() {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				t.look(ctx, asked)
			}
		}
	}
}

func (t *tails) watched() []store.Tailing {
	t.mu.Lock()
	defer t.mu.Unlock()
	asked := make([]store.Tailing, 0, len(t.logs))
	for subscription, log := range t.logs {
		asked = append(asked, store.Tailing{Subscription: subscription, From: log.next})
	}
	return asked
}

// look hands out what is new. What can't be read now is read the next time.
func (t *tails) look(ctx context.Context, asked []store.Tailing) {
	ctx, cancel := context.WithTimeout(ctx, tailPatience)
	defer cancel()
	found, err := t.store.Tail(ctx, asked)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, some := range found {
		log := t.logs[asked[i].Subscription]
		if log == nil || len(some) == 0 || log.next != asked[i].From {
			continue
		}
		log.next = some[len(some)-1].Next
		for v := range log.viewers {
			select {
			case v.news <- some:
			default:
				delete(log.viewers, v)
				close(v.news)
			}
		}
	}
}

// follow hands over a log from a position on, until the context ends or show fails.
func (t *tails) follow(ctx context.Context, subscription string, from store.LogPosition, show func([]store.Logged) error) error {
	for {
		var err error
		if from, err = t.catchUp(ctx, subscription, from, show); err == nil {
			from, err = t.watch(ctx, subscription, from, show)
		}
		if err != nil {
			return err
		}
	}
}

// catchUp reads what is there already.
func (t *tails) catchUp(ctx context.Context, subscription string, from store.LogPosition, show func([]store.Logged) error) (store.LogPosition, error) {
	for {
		found, err := t.store.Tail(ctx, []store.Tailing{{Subscription: subscription, From: from}})
		if err != nil || len(found[0]) == 0 {
			return from, err
		}
		if err := show(found[0]); err != nil {
			return from, err
		}
		from = found[0][len(found[0])-1].Next
	}
}

// watch shows what is new from a position on, until the viewer is too far behind.
func (t *tails) watch(ctx context.Context, subscription string, from store.LogPosition, show func([]store.Logged) error) (store.LogPosition, error) {
	v := t.join(subscription, from)
	defer t.leave(subscription, v)
	for {
		select {
		case <-ctx.Done():
			return from, context.Cause(ctx)
		case some, open := <-v.news:
			if !open {
				return from, nil
			}
			for len(some) > 0 && !from.Before(some[0].Next) { // it has seen what others had not
				some = some[1:]
			}
			if len(some) == 0 {
				continue
			}
			if err := show(some); err != nil {
				return from, err
			}
			from = some[len(some)-1].Next
		}
	}
}

// join adds a viewer. Others may be behind it: the log is read on from where the last one is.
func (t *tails) join(subscription string, from store.LogPosition) *viewer {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.logs[subscription]
	if log == nil {
		log = &tail{next: from, viewers: map[*viewer]struct{}{}}
		t.logs[subscription] = log
	}
	if from.Before(log.next) {
		log.next = from
	}
	v := &viewer{news: make(chan []store.Logged, tailAhead)}
	log.viewers[v] = struct{}{}
	select {
	case t.waiting <- struct{}{}:
	default: // is known
	}
	return v
}

func (t *tails) leave(subscription string, v *viewer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	log := t.logs[subscription]
	if log == nil {
		return
	}
	if delete(log.viewers, v); len(log.viewers) == 0 {
		delete(t.logs, subscription)
	}
}
