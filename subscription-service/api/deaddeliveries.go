package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// replayDeliveries starts a replay of the failed deliveries of each subscription, from its oldest dead one to its newest.
func (d deadLetters) replayDeliveries(ctx context.Context, body deadReplayBody, begun *deadReplayView) error {
	asked := map[string]*contract.Replay{}
	count := map[string]int{}
	err := d.each(ctx, body, contract.DeadDelivery, func(l contract.DeadLetter) {
		r := asked[l.Subscription]
		if r == nil {
			r = &contract.Replay{Subscription: l.Subscription, Since: l.Created, Until: l.Created, Status: contract.DeliveryFailed}
			asked[l.Subscription] = r
		}
		if l.Created.Before(r.Since) {
			r.Since = l.Created
		}
		if l.Created.After(r.Until) {
			r.Until = l.Created
		}
		count[l.Subscription]++
	})
	if err != nil {
		return err
	}
	for i, r := range inOrder(asked) {
		if i == mostReplays {
			begun.skip(r.Subscription, "one call starts 1000 replays: ask again for this one, by its subscription or resource")
			continue
		}
		if err := d.begin(ctx, *r, count[r.Subscription], begun); err != nil {
			return err
		}
	}
	return nil
}

func inOrder(asked map[string]*contract.Replay) []*contract.Replay {
	all := make([]*contract.Replay, 0, len(asked))
	for _, r := range asked {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *contract.Replay) int { return a.Since.Compare(b.Since) })
	return all
}

// begin starts one replay. What is the matter with its subscription is no matter of the others.
func (d deadLetters) begin(ctx context.Context, r contract.Replay, deliveries int, begun *deadReplayView) error {
	sub, err := d.store.Subscription(ctx, r.Subscription)
	if errors.Is(err, store.ErrNotFound) {
		begun.skip(r.Subscription, "it is gone")
		return nil
	}
	if err != nil {
		return err
	}
	if oldest := d.now().Add(-archiveLife); r.Since.Before(oldest) {
		r.Since = oldest
	}
	answer, err := d.replays.ask(ctx, sub, r)
	var refused huma.StatusError
	switch {
	case errors.As(err, &refused):
		begun.skip(r.Subscription, refused.Error())
		return nil
	case errors.Is(err, store.ErrConflict):
		begun.skip(r.Subscription, conflict(err))
		return nil
	case err != nil:
		return err
	case answer.Status == http.StatusAccepted:
		begun.Replays++
	default:
		begun.Running++
	}
	begun.Deliveries += deliveries
	return nil
}

// mostSkipped bounds the list of what was left out.
const mostSkipped = 100

func (v *deadReplayView) skip(subscription, reason string) {
	if len(v.Skipped) < mostSkipped {
		v.Skipped = append(v.Skipped, contract.SkippedReplay{Subscription: subscription, Reason: reason})
	}
}
