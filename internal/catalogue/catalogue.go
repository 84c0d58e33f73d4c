package catalogue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Source is where the resources are kept; *store.Store is one.
type Source interface {
	// ResourcesSince returns all resources and their version; nil with the same version if that is the one that is known.
	ResourcesSince(ctx context.Context, known string) (version string, all []contract.Resource, err error)
}

// unread is a version that no catalogue has.
const unread = "unread"

// refreshEvery keeps what is known younger than a second.
const refreshEvery = 400 * time.Millisecond

// ErrNotLoaded means that the resources were never read, so that nothing can be said of an event.
var ErrNotLoaded = errors.New("the catalogue is not loaded")

// Catalogue knows the resources as of less than a second ago, or as they were last known while their source is away. Make it
// with New and keep it up with Run.
type Catalogue struct {
	source  Source
	log     *zap.Logger
	schemas Schemas
	known   atomic.Pointer[snapshot]
	mu      sync.Mutex // one refresh at a time
	away    bool
}

// snapshot is never changed.
type snapshot struct {
	version   string
	resources map[string]*entry
}

// entry is one resource as its events are checked.
type entry struct {
	policy contract.Policy
	types  map[string]contract.EventType
	broken error // why the policy can't be read
}

// New makes an empty catalogue.
func New(source Source, log *zap.Logger) *Catalogue {
	return &Catalogue{source: source, log: log}
}

// Run reads what changed, again and again until ctx ends.
func (c *Catalogue) Run(ctx context.Context) error {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		c.report(ctx, c.Refresh(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// report logs when the source goes and when it is back.
func (c *Catalogue) report(ctx context.Context, err error) {
	switch {
	case ctx.Err() != nil:
	case err != nil && !c.away:
		c.log.Warn("the catalogue stays as it was last known", zap.Error(err))
	case err == nil && c.away:
		c.log.Info("the catalogue is read again")
	}
	c.away = err != nil
}

// Refresh reads what changed, now.
func (c *Catalogue) Refresh(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, version := c.known.Load(), unread
	if before != nil {
		version = before.version
	}
	version, all, err := c.source.ResourcesSince(ctx, version)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if before != nil && before.version == version {
		return nil
	}
	c.known.Store(snapshotOf(version, all))
	return nil
}

func snapshotOf(version string, all []contract.Resource) *snapshot {
	s := &snapshot{version, make(map[string]*entry, len(all))}
	for _, r := range all {
		e := &entry{types: make(map[string]contract.EventType, len(r.Types))}
		e.policy, e.broken = r.FullPolicy()
		for _, t := range r.Types {
			e.types[t.Name] = t
		}
		s.resources[r.Name] = e
	}
	return s
}

// Check says what is wrong with an event by the catalogue: refuse must not be taken, warn is to be counted and taken. Either
// is a *Faults, save for ErrNotLoaded and a policy that can't be read. Of a resource that is not known it says nothing.
func (c *Catalogue) Check(resource string, e *event.Event) (warn, refuse error) {
	known := c.known.Load()
	if known == nil {
		return nil, ErrNotLoaded
	}
	r, ok := known.resources[resource]
	switch {
	case !ok:
		return nil, nil
	case r.broken != nil:
		return nil, fmt.Errorf("%w: put the resource again", r.broken)
	case r.policy.MaxPayload > 0 && len(e.Data()) > r.policy.MaxPayload:
		return nil, tooLong(len(e.Data()), r.policy.MaxPayload)
	}
	switch r.policy.SchemaMode {
	case contract.SchemaWarn:
		return c.violation(r, e), nil
	case contract.SchemaReject:
		return nil, c.violation(r, e)
	}
	return nil, nil
}

func tooLong(size, most int) *Faults {
	faults := one("data", "has %d bytes: the resource takes at most %d (max_payload)", size, most)
	faults.size = true
	return faults
}

// violation holds an event against the types of its resource. Where none are listed, every type is one of them.
func (c *Catalogue) violation(r *entry, e *event.Event) error {
	if len(r.types) == 0 {
		return nil
	}
	t, listed := r.types[e.Type()]
	switch {
	case !listed:
		return one("type", "%s is not in the catalogue of the resource: use a type that is, or have it added", contract.Printable(e.Type()))
	case len(t.Schema) == 0:
		return nil
	case len(e.Data()) == 0:
		return one("data", "is missing: the schema of %s is about it", contract.Printable(e.Type()))
	case !contract.JSONData(e):
		return one("data", "is %s: the schema of %s is for JSON", contract.Printable(e.DataContentType()), contract.Printable(e.Type()))
	}
	return c.schemas.Validate(t.Schema, e.Data())
}
