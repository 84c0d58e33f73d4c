package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// testEvents lets consumers try their endpoints without a producer.
type testEvents struct {
	store     *store.Store
	reach     reach
	publisher Publisher
	names     rabbit.Names
	now       func() time.Time
}

func (t testEvents) register(api huma.API) {
	op := operation("test-subscription", http.MethodPost, pathSubscription+"/test",
		"Send a test event to the callback now", http.StatusNotFound, http.StatusConflict)
	op.DefaultStatus = http.StatusAccepted
	register(api, op, t.send)
}

type testAnswer struct {
	Body struct {
		DeliveryID string `json:"delivery_id" doc:"the webhook-id of the callback; see it among the deliveries"`
	}
}

// send publishes a command like the event listener's: from there on a test event is an event.
func (t testEvents) send(ctx context.Context, in *Own) (*testAnswer, error) {
	sub, err := ownSubscription(ctx, t.store, in.ID)
	if err != nil {
		return nil, err
	}
	if err := mustBeActive(sub); err != nil {
		return nil, err
	}
	if err := t.reach.kept(ctx, sub); err != nil {
		return nil, err
	}
	now := moment(t.now())
	command := contract.NewCommand(contract.NewTestEvent(sub, now), sub.ID, sub.Resource, now)
	command.TraceParent, command.TraceState = tracing.Format(traceOf(ctx))
	command.Pull = sub.Pulls()
	answer := &testAnswer{}
	answer.Body.DeliveryID = command.Delivery
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := t.publisher.Publish(ctx, t.names.ToCommands(rabbit.CommandMessage(command))); err != nil {
		return nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	return answer, nil
}
