package api

import (
	"context"
	"net/http"

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
	register(api, operation("list-deliveries", http.MethodGet, pathDeliveries, "List deliveries, newest first",
		http.StatusBadRequest, http.StatusNotFound), d.list)
	register(api, operation("get-delivery", http.MethodGet, pathDelivery, "Get one delivery with its attempts",
		http.StatusNotFound), d.get)
}

type deliveriesRequest struct {
	Own
	Page
	Status contract.DeliveryStatus `query:"status" enum:"pending,succeeded,failed,canceled"`
}

func (d deliveries) list(ctx context.Context, in *deliveriesRequest) (*listAnswer[contract.Delivery], error) {
	if _, err := ownSubscription(ctx, d.store, in.ID); err != nil {
		return nil, err
	}
	found, next, err := d.store.Deliveries(ctx, in.ID, in.Status, in.Cursor, in.Limit)
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
	return &deliveryAnswer{delivery}, nil
}
