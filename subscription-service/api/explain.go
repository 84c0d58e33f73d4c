package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/semaphore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/explain"
)

// explanations answer why an event did or did not reach somebody. Events are remembered for 24 h.
type explanations struct {
	store   *store.Store
	archive explain.Archive
	names   rabbit.Names
	now     func() time.Time
	// searches bounds those of the archive under way: each reads it for seconds.
	searches *semaphore.Weighted
}

// mostSearches is how many searches of the archive may be under way in one process.
const mostSearches = 8

const (
	pathExplainOwn   = pathSubscription + "/explain"
	pathExplainEvent = "/admin/v1/events/{source}/{id}/explain"
	// remembered is how long ago an event may have been taken that is explained.
	remembered = 24 * time.Hour
)

func (x explanations) register(api huma.API) {
	register(api, operation("explain-own", http.MethodGet, pathExplainOwn, "Why an event did, or did not, reach a subscription",
		http.StatusBadRequest, http.StatusNotFound), x.own)
	register(api, operation("explain-event", http.MethodGet, pathExplainEvent, "What became of an event: whom it reached, whom not, and why",
		http.StatusBadRequest, http.StatusNotFound), x.event)
}

// EventFacts are what is known of an event.
type EventFacts struct {
	Source     string    `json:"source"`
	ID         string    `json:"id"`
	Resource   string    `json:"resource"`
	ReceivedAt time.Time `json:"received_at"`
	Commands   int       `json:"commands" doc:"callback commands that were published"`
	DeadLetter string    `json:"dead_letter,omitempty" doc:"why the event could not be processed"`
	Type       string    `json:"type,omitempty" doc:"left out if the event is not in the archive any more"`
	Subject    string    `json:"subject,omitempty"`
	Time       time.Time `json:"time,omitzero"`
}

type ownExplanation struct {
	EventFacts
	explain.Answer
}

type explainOwnRequest struct {
	Own
	Event  string `query:"event" required:"true" minLength:"1" maxLength:"1024" doc:"the event's id"`
	Source string `query:"source" maxLength:"1024" doc:"the event's source; without it an event with that id is searched for"`
}

type explainOwnAnswer struct{ Body ownExplanation }

func (x explanations) own(ctx context.Context, in *explainOwnRequest) (*explainOwnAnswer, error) {
	sub, err := ownSubscription(ctx, x.store, in.ID)
	if err != nil {
		return nil, err
	}
	source, err := x.sourceOf(ctx, sub, in)
	if err != nil {
		return nil, err
	}
	marks, err := x.marks(ctx, []store.EventKey{{Resource: sub.Resource, Source: source, ID: in.Event}})
	if err != nil {
		return nil, err
	}
	if len(marks) == 0 {
		return nil, notReceived
	}
	e, err := x.find(ctx, marks[0])
	if err != nil {
		return nil, err
	}
	why, err := x.why(ctx, sub, marks[0], e)
	return &explainOwnAnswer{ownExplanation{describe(marks[0], e), why}}, err
}

var notReceived = huma.Error404NotFound("no such event was received within 24 hours: check its source and id, and whether the producer got a confirm")

// An event is remembered a moment after its commands are out: whoever just got its callback may ask before.
const markWait, markTries = 100 * time.Millisecond, 5

// marks waits a little for what is not there yet.
func (x explanations) marks(ctx context.Context, keys []store.EventKey) (marks []store.Mark, err error) {
	for n := 0; ; n++ {
		marks, err = x.store.Marks(ctx, keys)
		if err != nil || len(marks) > 0 || n == markTries {
			return marks, err
		}
		service.Pause(ctx, markWait)
	}
}

// sourceOf is the source that was given, that of a delivery, or that of such an event in the archive.
func (x explanations) sourceOf(ctx context.Context, sub contract.Subscription, in *explainOwnRequest) (string, error) {
	if in.Source != "" {
		return in.Source, nil
	}
	for cursor := ""; ; {
		page, next, err := x.store.Deliveries(ctx, store.DeliveryQuery{Subscription: sub.ID, EventID: in.Event, Cursor: cursor, Limit: 1})
		if err != nil {
			return "", err
		}
		if len(page) > 0 {
			return page[0].EventSource, nil
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	found, err := x.search(ctx, x.now().Add(-remembered), func(a contract.Archived) bool {
		return a.Resource == sub.Resource && a.ID() == in.Event
	})
	if err != nil {
		return "", err
	}
	if found == nil {
		return "", huma.Error404NotFound("no such event was found: give its source too, as in ?event=…&source=…")
	}
	return found.Source(), nil
}

// search looks for an event in the archive, while not too many do.
func (x explanations) search(ctx context.Context, taken time.Time, is func(contract.Archived) bool) (*contract.Archived, error) {
	if !x.searches.TryAcquire(1) {
		recordOf(ctx).limited = limitSearches
		return nil, huma.ErrorWithHeaders(problem(contract.KindBusy, "too many searches of the archive are under way: try again"), http.Header{"Retry-After": {"1"}})
	}
	defer x.searches.Release(1)
	found, err := explain.Find(ctx, x.archive, x.names.Archive, taken, is)
	return found, archiveError(err)
}

func archiveError(err error) error {
	if errors.Is(err, rabbit.ErrUnavailable) {
		return fmt.Errorf("%w: %w", errBroker, err)
	}
	return err
}

// find reads the event again. One that never came to be an event of the resource is in no archive.
func (x explanations) find(ctx context.Context, mark store.Mark) (*event.Event, error) {
	if mark.Reason != "" {
		return nil, nil
	}
	found, err := x.search(ctx, mark.Taken, func(a contract.Archived) bool {
		return a.Resource == mark.Event.Resource && a.ID() == mark.Event.ID && a.Source() == mark.Event.Source
	})
	if err != nil || found == nil {
		return nil, err
	}
	return found.Event()
}

func (x explanations) why(ctx context.Context, sub contract.Subscription, mark store.Mark, e *event.Event) (explain.Answer, error) {
	d, err := x.store.Delivery(ctx, sub.ID, contract.DeliveryID(mark.Event.Source, mark.Event.ID, sub.ID))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return explain.Why(sub, mark, e, nil), nil
	case err != nil:
		return explain.Answer{}, err
	}
	return explain.Why(sub, mark, e, &d), nil
}

func describe(mark store.Mark, e *event.Event) EventFacts {
	r := EventFacts{
		Source: mark.Event.Source, ID: mark.Event.ID, Resource: mark.Event.Resource, ReceivedAt: mark.Taken,
		Commands: mark.Commands, DeadLetter: mark.Reason,
	}
	if e != nil {
		r.Type, r.Subject, r.Time = e.Type(), e.Subject(), e.Time()
	}
	return r
}

type explainEventRequest struct {
	Source   string `path:"source" maxLength:"1024" doc:"percent-encoded: %2Fshop for /shop"`
	ID       string `path:"id" maxLength:"1024"`
	Resource string `query:"resource" maxLength:"63" doc:"if events of several resources have that source and id"`
	Page
}

type explainEventAnswer struct{ Body eventExplanation }

type eventExplanation struct {
	EventFacts
	Subscriptions listBody[subscriptionExplanation] `json:"subscriptions" doc:"all subscriptions to the resource, in no order"`
}

type subscriptionExplanation struct {
	Subscription string `json:"subscription_id"`
	Consumer     string `json:"consumer_id"`
	explain.Answer
}

func (x explanations) event(ctx context.Context, in *explainEventRequest) (*explainEventAnswer, error) {
	mark, err := x.markOf(ctx, in)
	if err != nil {
		return nil, err
	}
	e, err := x.find(ctx, mark)
	if err != nil {
		return nil, err
	}
	subs, next, err := x.store.ResourceSubscriptions(ctx, mark.Event.Resource, in.Cursor, in.Limit)
	if err != nil {
		return nil, badCursor(err)
	}
	items := make([]subscriptionExplanation, len(subs))
	for i, sub := range subs {
		items[i].Subscription, items[i].Consumer = sub.ID, sub.Consumer
		if items[i].Answer, err = x.why(ctx, sub, mark, e); err != nil {
			return nil, err
		}
	}
	return &explainEventAnswer{eventExplanation{describe(mark, e), listBody[subscriptionExplanation]{items, next}}}, nil
}

// markOf finds the event in the resource that is asked for, or in any.
func (x explanations) markOf(ctx context.Context, in *explainEventRequest) (store.Mark, error) {
	resources := []string{in.Resource}
	if in.Resource == "" {
		var err error
		if resources, err = x.store.ResourceNames(ctx); err != nil {
			return store.Mark{}, err
		}
	}
	keys := make([]store.EventKey, len(resources))
	for i, resource := range resources {
		keys[i] = store.EventKey{Resource: resource, Source: in.Source, ID: in.ID}
	}
	marks, err := x.marks(ctx, keys)
	switch {
	case err != nil:
		return store.Mark{}, err
	case len(marks) == 0:
		return store.Mark{}, notReceived
	case len(marks) > 1:
		return store.Mark{}, problem(contract.KindAmbiguousEvent, fmt.Sprintf("events of %d resources have this source and id", len(marks)),
			fault("query.resource", "say which: "+marks[0].Event.Resource+", "+marks[1].Event.Resource+", …"))
	}
	return marks[0], nil
}
