package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// live shows the attempts of a subscription as they are logged.
type live struct {
	store   *store.Store
	tails   *tails
	streams *streams
}

const pathLive = pathDeliveries + "/live"

func (l live) register(api huma.API) {
	op := streamOperation("watch-deliveries", pathLive, "Watch the attempts of a subscription as they are made", http.StatusBadRequest)
	op.Description = "Each event is named attempt; its data is an object with the delivery as it stood after the attempt, and the attempt with its " +
		"request, answer and timings. It comes within a second or so. With Last-Event-ID it goes on after that event, as far as the log still has what followed."
	register(api, op, l.watch)
}

type liveRequest struct {
	Own
	LastEventID string `header:"Last-Event-ID" maxLength:"50" doc:"the id of the last event that came: what followed it comes first"`
}

func (l live) watch(ctx context.Context, in *liveRequest) (*huma.StreamResponse, error) {
	if _, err := ownSubscription(ctx, l.store, in.ID); err != nil {
		return nil, err
	}
	from, err := l.from(ctx, in.LastEventID)
	if err != nil {
		return nil, err
	}
	return l.streams.answer(ctx, func(ctx context.Context, to *eventWriter) error {
		return l.tails.follow(ctx, in.ID, from, func(some []store.Logged) error { return to.Send(attemptEvents(some)...) })
	})
}

func (l live) from(ctx context.Context, last string) (store.LogPosition, error) {
	if last == "" {
		return l.store.LogEnd(ctx)
	}
	from, err := store.ParseLogPosition(last)
	if err != nil {
		return from, huma.Error400BadRequest("the Last-Event-ID is none of ours: leave it out, or send the id of an event that came")
	}
	return from, nil
}

// liveBody is the data of an event.
type liveBody struct {
	Delivery contract.Delivery `json:"delivery"`
	Attempt  contract.Attempt  `json:"attempt"`
}

func attemptEvents(some []store.Logged) []sse {
	events := make([]sse, len(some))
	for i, l := range some {
		body := liveBody{Delivery: l.Delivery, Attempt: l.Delivery.Attempts[0]}
		body.Delivery.Attempts = nil
		data, err := json.Marshal(body)
		if err != nil {
			panic(fmt.Sprint("api: an attempt that cannot be encoded: ", err)) // our own types of plain fields
		}
		events[i] = sse{ID: l.Next.String(), Name: "attempt", Data: data}
	}
	return events
}
