// Package explain answers why an event was delivered to a subscription, or was not.
package explain

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// Reason is why, in a word.
type Reason string

// The reasons.
const (
	Delivered Reason = "matched"      // there is a delivery
	Later     Reason = "subscribed"   // after the event was taken
	Policy    Reason = "policy"       // the event itself was refused: it is a dead letter
	Type      Reason = "type"         // is none of those asked for
	Filter    Reason = "filter"       // is false of the event, or can't be put to it
	Status    Reason = "status"       // the subscription is pending, paused or disabled
	Unknown   Reason = "unknown"      // nothing that is known now speaks against it
	Gone      Reason = "not_archived" // the event can't be looked at any more
)

// Answer is why one event did or did not reach one subscription.
type Answer struct {
	Matched bool   `json:"matched" doc:"whether there is a delivery"`
	Reason  Reason `json:"reason" enum:"matched,subscribed,policy,type,filter,status,unknown,not_archived"`
	Detail  string `json:"detail,omitempty" doc:"the reason in a sentence"`
	// Values are what the filter looks at, as it was in the event.
	Values   []expr.Value       `json:"values,omitempty" doc:"what the filter looks at, as it was in the event"`
	Delivery *contract.Delivery `json:"delivery,omitempty" doc:"with its attempts"`
}

// Why compares a subscription with what is known of an event. e is nil if the event is not in the archive any more, d if there
// is no delivery. The subscription counts as it is now: its past is not kept.
func Why(sub contract.Subscription, mark store.Mark, e *event.Event, d *contract.Delivery) Answer {
	answer := Answer{Matched: d != nil, Reason: Delivered, Delivery: d}
	if d == nil {
		answer.Reason, answer.Detail = against(sub, mark, e)
	} else if d.Status == contract.DeliveryPending && d.Reason == contract.ReasonWaits {
		answer.Detail = contract.ReasonWaits + " since " + d.UpdatedAt.UTC().Format(time.RFC3339)
	}
	if sub.Filter != "" && e != nil && (d != nil || answer.Reason == Filter) {
		answer.Values = expr.Values(sub.Filter, expr.NewVars(e))
	}
	return answer
}

// against finds what speaks against a delivery; the first reason counts.
func against(sub contract.Subscription, mark store.Mark, e *event.Event) (Reason, string) {
	switch {
	case mark.Reason != "":
		return Policy, "the event is a dead letter: " + mark.Reason
	case sub.CreatedAt.After(mark.Taken):
		return Later, fmt.Sprintf("subscribed at %s, after the event was taken", sub.CreatedAt.UTC().Format(time.RFC3339))
	case e == nil:
		return Gone, "the event is not in the archive, so that nothing can be said of its type and data"
	case !contract.MatchesType(sub.Types, e.Type()):
		return Type, fmt.Sprintf("%s matches none of %s", contract.Printable(e.Type()), strings.Join(sub.Types, ", "))
	}
	if detail := filtered(sub.Filter, e); detail != "" {
		return Filter, detail
	}
	if sub.Status != contract.StatusActive {
		return Status, strings.TrimSuffix(fmt.Sprintf("the subscription is %s: %s", sub.Status, sub.StatusReason), ": ")
	}
	return Unknown, "the subscription would get the event now: it was changed since, or its command is on the way"
}

// filtered says why the filter keeps an event back; "" if it does not.
func filtered(filter string, e *event.Event) string {
	if filter == "" {
		return ""
	}
	switch is, err := expr.Passes(filter, e); {
	case errors.Is(err, expr.ErrEvaluation):
		return "the filter can't be put to the event: " + err.Error()
	case err != nil:
		return "the filter can't be read: " + err.Error()
	case !is:
		return "the filter is false of the event"
	}
	return ""
}
