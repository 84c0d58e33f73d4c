package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// Queues looks into the broker's queues and takes from them; see rabbit.Conn.
type Queues interface {
	Depths(ctx context.Context, queues ...string) (map[string]int, error)
	Sift(ctx context.Context, queue string, n int, handle func(context.Context, []rabbit.Message) error) (taken int, err error)
}

const (
	pathDead       = "/admin/v1/dead-letters"
	pathDeadReplay = pathDead + "/replay"
)

// deadLetters are the admins' calls on what was given up.
type deadLetters struct {
	store   *store.Store
	queues  Queues
	replays replays
	now     func() time.Time
}

func (d deadLetters) register(api huma.API) {
	list := operation("list-dead-letters", http.MethodGet, pathDead, "List events that could not be processed and deliveries that were given up, newest first", http.StatusBadRequest)
	list.Description = "The newest 100,000. A page looks at 5,000 at most: it may have fewer items than asked for, and still a next_cursor."
	register(api, list, d.list)
	replay := operation("replay-dead-letters", http.MethodPost, pathDeadReplay, "Try dead letters again",
		http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	replay.DefaultStatus = http.StatusAccepted
	replay.Description = "Deliveries by a replay of each subscription's failed ones, events by publishing them anew, paced. One call takes a few " +
		"seconds at most: while remaining is not zero, send the same again with it. Asking for the same again starts nothing twice."
	register(api, replay, d.replay)
}

type deadRequest struct {
	Page
	Kind         contract.DeadKind `query:"kind" enum:"event,delivery"`
	Resource     string            `query:"resource" maxLength:"63"`
	Subscription string            `query:"subscription" maxLength:"100"`
	Reason       string            `query:"reason" maxLength:"200" doc:"a part of the reason"`
	Since        time.Time         `query:"since" doc:"given up since this time"`
	Until        time.Time         `query:"until" doc:"and before this one"`
}

func (d deadLetters) list(ctx context.Context, in *deadRequest) (*listAnswer[contract.DeadLetter], error) {
	found, next, err := d.store.DeadLetters(ctx, store.DeadQuery{
		Kind: in.Kind, Resource: in.Resource, Subscription: in.Subscription, Reason: in.Reason, Since: in.Since, Until: in.Until,
		Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, badCursor(err)
	}
	return &listAnswer[contract.DeadLetter]{listBody[contract.DeadLetter]{found, next}}, nil
}

// deadReplayBody says which dead letters are tried again; what is left out asks for all.
type deadReplayBody struct {
	Kind         contract.DeadKind `json:"kind,omitempty" enum:"event,delivery"`
	Resource     string            `json:"resource,omitempty" maxLength:"63"`
	Subscription string            `json:"subscription,omitempty" maxLength:"100"`
	Since        time.Time         `json:"since,omitzero" doc:"given up since this time"`
	Until        time.Time         `json:"until,omitzero" doc:"and before this one"`
	IDs          []string          `json:"ids,omitempty" maxItems:"100" doc:"these alone"`
	Remaining    int               `json:"remaining,omitempty" minimum:"0" doc:"remaining of the call before, to go on with its events"`
}

// query is the body's, for the list.
func (b deadReplayBody) query(kind contract.DeadKind) store.DeadQuery {
	return store.DeadQuery{Kind: kind, Resource: b.Resource, Subscription: b.Subscription, Since: b.Since, Until: b.Until, Limit: deadPage}
}

// open asks for events whether they are listed or not.
func (b deadReplayBody) open() bool {
	return len(b.IDs) == 0 && b.Since.IsZero() && b.Until.IsZero()
}

// deadReplayView says what was begun.
type deadReplayView contract.DeadReplay

type deadReplayRequest struct{ Body deadReplayBody }

type deadReplayAnswer struct{ Body deadReplayView }

const (
	// deadPage is how many letters are read at a time, mostReplays how many subscriptions' replays one call starts.
	deadPage    = 1000
	mostReplays = 1000
	// sifting bounds the search of one call for events.
	sifting = 5 * time.Second
)

func (d deadLetters) replay(ctx context.Context, in *deadReplayRequest) (*deadReplayAnswer, error) {
	begun := &deadReplayView{Skipped: []contract.SkippedReplay{}}
	if in.Body.Kind != contract.DeadEvent && in.Body.Remaining == 0 {
		if err := d.replayDeliveries(ctx, in.Body, begun); err != nil {
			return nil, err
		}
	}
	if in.Body.Kind != contract.DeadDelivery && in.Body.Subscription == "" {
		if err := d.replayEvents(ctx, in.Body, begun); err != nil {
			return nil, err
		}
	}
	return &deadReplayAnswer{*begun}, nil
}

// each calls for every listed letter that a body asks for.
func (d deadLetters) each(ctx context.Context, body deadReplayBody, kind contract.DeadKind, use func(contract.DeadLetter)) error {
	if len(body.IDs) > 0 {
		letters, err := d.store.DeadLettersOf(ctx, body.IDs)
		for _, l := range letters {
			if body.query(kind).Matches(l) {
				use(l)
			}
		}
		return err
	}
	for q := body.query(kind); ; {
		letters, next, err := d.store.DeadLetters(ctx, q)
		for _, l := range letters {
			use(l)
		}
		if q.Cursor = next; err != nil || next == "" {
			return err
		}
	}
}
