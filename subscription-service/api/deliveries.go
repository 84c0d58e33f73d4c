package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// deliveries are the calls on what became of a subscription's events.
type deliveries struct{ store *store.Store }

const (
	pathDeliveries = pathSubscription + "/deliveries"
	pathDelivery   = pathDeliveries + "/{delivery_id}"
)

func (d deliveries) register(api huma.API) {
	register(api, operation("list-deliveries", http.MethodGet, pathDeliveries, "List deliveries, newest first. A page may have fewer than asked for, or none, and still a next_cursor",
		http.StatusBadRequest, http.StatusNotFound), d.list)
	register(api, operation("get-delivery", http.MethodGet, pathDelivery, "Get one delivery with its attempts",
		http.StatusNotFound), d.get)
}

type deliveriesRequest struct {
	Own
	Page
	Status  contract.DeliveryStatus `query:"status" enum:"pending,succeeded,failed,canceled"`
	Type    string                  `query:"type" maxLength:"256" doc:"of the event, as it is"`
	EventID string                  `query:"event_id" maxLength:"1024" doc:"the event's id; several sources may have used it"`
	Since   time.Time               `query:"since" doc:"no delivery that was created earlier"`
	Until   time.Time               `query:"until" doc:"none that was created later"`
}

func (d deliveries) list(ctx context.Context, in *deliveriesRequest) (*listAnswer[contract.Delivery], error) {
	if _, err := ownSubscription(ctx, d.store, in.ID); err != nil {
		return nil, err
	}
	found, next, err := d.store.Deliveries(ctx, store.DeliveryQuery{
		Subscription: in.ID, Status: in.Status, EventType: in.Type, EventID: in.EventID, Since: in.Since, Until: in.Until, Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, badCursor(err)
	}
	return &listAnswer[contract.Delivery]{listBody[contract.Delivery]{found, next}}, nil
}

type deliveryRequest struct {
	Own
	DeliveryID string `path:"delivery_id" maxLength:"100"`
}

type deliveryAnswer struct{ Body contract.Delivery }

func (d deliveries) get(ctx context.Context, in *deliveryRequest) (*deliveryAnswer, error) {
	if _, err := ownSubscription(ctx, d.store, in.ID); err != nil {
		return nil, err
	}
	delivery, err := d.store.Delivery(ctx, in.ID, in.DeliveryID)
	if err != nil {
		return nil, err
	}
	if err := d.store.AttemptDetails(ctx, &delivery); err != nil {
		return nil, err
	}
	return &deliveryAnswer{delivery}, nil
}
