package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// replays are the calls that ask for deliveries again.
type replays struct {
	store     *store.Store
	publisher Publisher
	names     rabbit.Names
	now       func() time.Time
}

const (
	pathReplays        = pathSubscription + "/replay"
	pathReplay         = pathReplays + "/{replay_id}"
	pathDeliveryReplay = pathDelivery + "/replay"

	// archiveLife is how long events are kept for replays.
	archiveLife = 7 * 24 * time.Hour
	// leeway lets "seven days ago" be asked for: the answer comes a little later than the question.
	leeway = time.Minute
	// untaken is the age at which a replay that no worker took up is given to them again: who made it may have died before that.
	untaken = time.Minute
)

func (r replays) register(api huma.API) {
	const absent, conflict = http.StatusNotFound, http.StatusConflict
	one := operation("replay-delivery", http.MethodPost, pathDeliveryReplay, "Send one delivery again", absent, conflict)
	many := operation("replay", http.MethodPost, pathReplays, "Send deliveries since a time again", http.StatusBadRequest, absent, conflict,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	for _, op := range []*huma.Operation{&one, &many} {
		op.DefaultStatus = http.StatusAccepted
		op.Description = "202 with a new replay, or 200 with the running one when the same is asked for again. A delivery keeps its webhook-id."
	}
	register(api, one, r.one)
	register(api, many, r.since)
	for _, path := range []string{pathDeliveryReplay, pathReplays} {
		responses := api.OpenAPI().Paths[path].Post.Responses
		responses["200"] = &huma.Response{Description: "It runs already", Content: responses["202"].Content}
	}
	register(api, operation("get-replay", http.MethodGet, pathReplay, "Get a replay and how far it is; kept for seven days", absent), r.get)
}

// replayView is a replay as its consumer sees it.
type replayView struct {
	ID           string                  `json:"id"`
	Subscription string                  `json:"subscription_id"`
	Resource     string                  `json:"resource"`
	Since        time.Time               `json:"since"`
	Until        time.Time               `json:"until"`
	Status       contract.DeliveryStatus `json:"status,omitempty" enum:"failed,succeeded,canceled"`
	Delivery     string                  `json:"delivery_id,omitempty"`
	State        contract.ReplayState    `json:"state" enum:"running,done,canceled"`
	Reason       string                  `json:"reason,omitempty"`
	Scanned      int64                   `json:"scanned" doc:"events that were looked at"`
	Sent         int64                   `json:"sent" doc:"deliveries that were asked for again"`
	Reached      time.Time               `json:"reached_at,omitzero" doc:"events since and up to this time were looked at"`
	CreatedAt    time.Time               `json:"created_at"`
	UpdatedAt    time.Time               `json:"updated_at"`
}

func viewOfReplay(r contract.Replay) replayView {
	view := replayView{
		ID: r.ID, Subscription: r.Subscription, Resource: r.Resource, Since: r.Since, Until: r.Until, Status: r.Status, Delivery: r.Delivery,
		State: r.State, Reason: r.Reason, Scanned: r.Scanned, Sent: r.Sent, Reached: r.Reached, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if view.Until.After(r.CreatedAt) {
		view.Until = r.CreatedAt
	}
	return view
}

// Replaying is the path of one replay.
type Replaying struct {
	Own
	ReplayID string `path:"replay_id" maxLength:"100"`
}

type replayAnswer struct{ Body replayView }

func (r replays) get(ctx context.Context, in *Replaying) (*replayAnswer, error) {
	if _, err := ownSubscription(ctx, r.store, in.ID); err != nil {
		return nil, err
	}
	replay, err := r.store.Replay(ctx, in.ID, in.ReplayID)
	if err != nil {
		return nil, err
	}
	return &replayAnswer{viewOfReplay(replay)}, nil
}

type askedAnswer struct {
	Status   int
	Location string `header:"Location"`
	Body     replayView
}

func (r replays) one(ctx context.Context, in *deliveryRequest) (*askedAnswer, error) {
	sub, err := ownSubscription(ctx, r.store, in.ID)
	if err != nil {
		return nil, err
	}
	delivery, err := r.store.Delivery(ctx, sub.ID, in.DeliveryID)
	switch {
	case err != nil:
		return nil, err
	case delivery.Status == contract.DeliveryPending:
		return nil, huma.Error409Conflict("the delivery is pending: an attempt is due by itself")
	case delivery.IsTest(sub.Resource):
		return nil, huma.Error409Conflict(fmt.Sprintf("a test event is not kept to be sent again: POST /%s/subscribe/%s/test sends another one", sub.Resource, sub.ID))
	}
	return r.ask(ctx, sub, contract.Replay{Since: delivery.CreatedAt, Until: delivery.CreatedAt, Delivery: delivery.ID})
}

// replayBody says which deliveries are asked for again.
type replayBody struct {
	Since  time.Time               `json:"since" doc:"of events since this time, at most seven days ago"`
	Until  time.Time               `json:"until,omitzero" doc:"and until this time; now unless set"`
	Status contract.DeliveryStatus `json:"status,omitempty" enum:"failed,succeeded,canceled" doc:"of deliveries in this state. None: of every event that the subscription wants"`
}

type sinceRequest struct {
	Own
	Body replayBody
}

func (r replays) since(ctx context.Context, in *sinceRequest) (*askedAnswer, error) {
	sub, err := ownSubscription(ctx, r.store, in.ID)
	if err != nil {
		return nil, err
	}
	if errs := in.Body.faults(r.now()); len(errs) > 0 {
		return nil, unprocessable(errs...)
	}
	since, until := moment(in.Body.Since), moment(in.Body.Until)
	if until.IsZero() || until.After(r.now()) {
		// Now, by a name that is the same when the same is asked for again: no replay goes beyond its own beginning.
		until = since.Add(archiveLife + leeway)
	}
	return r.ask(ctx, sub, contract.Replay{Since: since, Until: until, Status: in.Body.Status})
}

func (b replayBody) faults(now time.Time) []error {
	var errs []error
	switch {
	case b.Since.After(now):
		errs = append(errs, fault("body.since", "lies in the future"))
	case now.Sub(b.Since) > archiveLife+leeway:
		errs = append(errs, fault("body.since", "is more than seven days ago: events are not kept for longer"))
	}
	if !b.Until.IsZero() && b.Until.Before(b.Since) {
		errs = append(errs, fault("body.until", "lies before since"))
	}
	return errs
}

// ask keeps a replay and hands it to the workers, unless the same one runs.
func (r replays) ask(ctx context.Context, sub contract.Subscription, asked contract.Replay) (*askedAnswer, error) {
	if err := mustBeActive(sub); err != nil {
		return nil, err
	}
	now := moment(r.now())
	asked.ID, asked.Subscription, asked.Resource, asked.State = contract.NewID("rpl"), sub.ID, sub.Resource, contract.ReplayRunning
	asked.CreatedAt, asked.UpdatedAt = now, now
	kept, created, err := r.store.CreateReplay(ctx, asked)
	if err != nil {
		return nil, err
	}
	if created || kept.UpdatedAt.Equal(kept.CreatedAt) && now.Sub(kept.CreatedAt) >= untaken {
		if err := r.hand(ctx, kept); err != nil {
			return nil, err
		}
	}
	answer := &askedAnswer{Status: http.StatusOK, Location: fmt.Sprintf("/%s/subscribe/%s/replay/%s", sub.Resource, sub.ID, kept.ID), Body: viewOfReplay(kept)}
	if created {
		answer.Status = http.StatusAccepted
	}
	return answer, nil
}

// hand gives a replay to the workers. One that can't be given is over, so that it can be asked for again.
func (r replays) hand(ctx context.Context, replay contract.Replay) error {
	job, _ := json.Marshal(map[string]string{"replay": replay.ID, "subscription": replay.Subscription}) // strings: never fails
	waiting, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := r.publisher.Publish(waiting, r.names.ToReplays(rabbit.Message{ID: replay.ID, ContentType: mediaJSON, Body: job}))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %w", errBroker, err)
	replay.State, replay.Reason, replay.UpdatedAt = contract.ReplayCanceled, "the broker could not be reached", moment(r.now())
	if saving := r.store.SaveReplay(context.WithoutCancel(ctx), replay); saving != nil { // the caller may be gone; the record must not stay
		err = fmt.Errorf("%w; ending the replay: %v", err, saving) //nolint:errorlint // the broker's error is the one that is answered
	}
	return err
}
