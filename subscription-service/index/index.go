// Package index finds the subscriptions that want an event: in memory, in a time that follows the number of those that are
// found, and not of those that there are.
//
// It reads a resource's subscriptions from Redis when it first hears of it and follows the stream of changes from before that.
// Each look catches up with the stream first, in the same round trip that tells which events were seen: so a subscription that
// was acknowledged before an event was published gets that event. A stream that does not reach back to where the index stands,
// as after Redis lost data or many changes, makes it forget everything and read again, one resource at a time.
package index

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// Store is where the subscriptions are; *store.Store is one.
type Store interface {
	Anchor(ctx context.Context) (store.Anchor, error)
	Look(ctx context.Context, from store.Anchor, resources []string, events []store.EventKey) (store.Look, error)
	EachCandidate(ctx context.Context, resource string, tell func(store.Candidate)) error
	ResourceNames(ctx context.Context) ([]string, error)
}

// catchUpEvery is how old the index gets while no event comes.
const catchUpEvery = 500 * time.Millisecond

// Index is safe for concurrent use. Make it with New; Run keeps it fresh, which no Look depends on.
type Index struct {
	store Store
	log   *zap.Logger

	looking sync.Mutex // one catches up at a time

	mu        sync.Mutex
	at        store.Anchor // zero: everything is to be read
	complete  bool         // all resources were read
	resources map[string]*loaded
}

// loaded is a resource that is there, or on its way.
type loaded struct {
	*resource
	ready chan struct{} // closed when it is there, or err says why not
	err   error
	// missed are changes that came while it was being read; under Index.mu.
	missed []store.Change
}

// New makes an empty index.
func New(from Store, log *zap.Logger) *Index {
	return &Index{store: from, log: log, resources: map[string]*loaded{}}
}

// Run reads what there is, a resource at a time, and follows the changes until ctx ends.
func (x *Index) Run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; {
		err := x.refresh(ctx)
		if err == nil {
			n = 0
			service.Pause(ctx, catchUpEvery)
			continue
		}
		n++
		x.log.Warn("the index of subscriptions waits for Redis", zap.Error(err))
		service.Backoff(ctx, n)
	}
}

func (x *Index) refresh(ctx context.Context) error {
	if _, err := x.catchUp(ctx, nil, nil); err != nil || x.isComplete() {
		return err
	}
	names, err := x.store.ResourceNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := x.resource(ctx, name); err != nil {
			return err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.complete = true
	return nil
}

func (x *Index) isComplete() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.complete
}

// View is what a look found. It stays as it is, or gets newer; use it for one batch of events.
type View struct {
	// Seen tells of each event, in the order asked, whether it was seen within a day.
	Seen []bool

	resources map[string]*resource
}

// Look catches up, and reads those of the resources that are not in memory yet.
func (x *Index) Look(ctx context.Context, resources []string, events []store.EventKey) (*View, error) {
	look, err := x.catchUp(ctx, resources, events)
	if err != nil {
		return nil, err
	}
	view := &View{Seen: look.Seen, resources: map[string]*resource{}}
	for name, exists := range look.Exists {
		if !exists {
			continue
		}
		if view.resources[name], err = x.resource(ctx, name); err != nil {
			return nil, err
		}
	}
	return view, nil
}

// catchUp applies all changes that there are.
func (x *Index) catchUp(ctx context.Context, resources []string, events []store.EventKey) (look store.Look, err error) {
	x.looking.Lock()
	defer x.looking.Unlock()
	for {
		from, err := x.anchor(ctx)
		if err != nil {
			return look, err
		}
		look, err = x.store.Look(ctx, from, resources, events)
		if err != nil {
			return look, err
		}
		if look.Lost {
			x.log.Warn("the changes do not reach back: the index of subscriptions begins anew")
			x.forget()
			continue
		}
		x.apply(look)
		if !look.More {
			return look, nil
		}
	}
}

// anchor is where the index stands; at the beginning, the newest change there is.
func (x *Index) anchor(ctx context.Context) (store.Anchor, error) {
	x.mu.Lock()
	at := x.at
	x.mu.Unlock()
	if at != (store.Anchor{}) {
		return at, nil
	}
	at, err := x.store.Anchor(ctx)
	if err != nil {
		return at, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at = at
	return at, nil
}

func (x *Index) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at, x.complete = store.Anchor{}, false
	x.resources = map[string]*loaded{}
}

func (x *Index) apply(look store.Look) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at = look.Next
	for _, c := range look.Changes {
		r := x.resources[c.Resource]
		switch {
		case r == nil: // what is read later is newer than the change
		case r.resource == nil:
			r.missed = append(r.missed, c)
		default:
			r.apply(c)
		}
	}
}

func (r *resource) apply(c store.Change) {
	if c.Candidate == nil {
		r.remove(c.Subscription)
		return
	}
	r.put(*c.Candidate)
}

// errForgotten: the index began anew while a resource was read.
var errForgotten = errors.New("the index of subscriptions began anew")

// resource returns a resource, which is read first unless that was done. Others can be had meanwhile.
func (x *Index) resource(ctx context.Context, name string) (*resource, error) {
	for {
		r, err := x.load(ctx, name)
		if !errors.Is(err, errForgotten) {
			return r, err
		}
	}
}

func (x *Index) load(ctx context.Context, name string) (*resource, error) {
	x.mu.Lock()
	r := x.resources[name]
	mine := r == nil
	if mine {
		r = &loaded{ready: make(chan struct{})}
		x.resources[name] = r
	}
	x.mu.Unlock()
	if mine {
		x.read(ctx, name, r)
	}
	select {
	case <-r.ready:
		return r.resource, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *Index) read(ctx context.Context, name string, r *loaded) {
	fresh := newResource()
	err := x.store.EachCandidate(ctx, name, fresh.put)
	x.mu.Lock()
	defer x.mu.Unlock()
	defer close(r.ready)
	switch {
	case x.resources[name] != r:
		r.err = errForgotten
	case err != nil:
		r.err = err
		delete(x.resources, name) // the next one tries again
	default:
		for _, c := range r.missed {
			fresh.apply(c)
		}
		r.resource, r.missed = fresh, nil
	}
}

// Exists reports whether there is such a resource, among those that were looked for.
func (v *View) Exists(resource string) bool { return v.resources[resource] != nil }

// Match returns the active subscriptions to a resource whose types match, each once, in no order. Of more than most it returns
// none, and about how many there are: see All.
func (v *View) Match(resource, eventType string, most int) (found []store.Candidate, count int) {
	if r := v.resources[resource]; r != nil {
		return r.match(eventType, most)
	}
	return nil, 0
}

// All returns all that match, in the order of their ids, from the first one after an id on.
func (v *View) All(resource, eventType, after string) []store.Candidate {
	found, _ := v.Match(resource, eventType, math.MaxInt)
	slices.SortFunc(found, func(a, b store.Candidate) int { return strings.Compare(a.Subscription, b.Subscription) })
	from, there := slices.BinarySearchFunc(found, after, func(c store.Candidate, id string) int { return strings.Compare(c.Subscription, id) })
	if there {
		from++
	}
	return found[from:]
}

// Size is how many subscriptions and resources are in memory.
func (x *Index) Size() (subscriptions, resources int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, r := range x.resources {
		if r.resource != nil {
			subscriptions += r.size()
			resources++
		}
	}
	return subscriptions, resources
}
