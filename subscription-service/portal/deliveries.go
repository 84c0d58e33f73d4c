package portal

import (
	"net/http"
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// deliveriesPage lists a subscription's deliveries.
type deliveriesPage struct {
	Subscription subscription
	Deliveries   []deliveryRow
	// Search is what was asked for, as it was typed.
	Search search
	// Next is the address of the next page; empty at the end.
	Next string
	// Live tells that new attempts belong on this page: it is the newest, and of everything.
	Live bool
}

// search are the fields of the form above the list.
type search struct{ Status, Type, EventID, Since, Until string }

// deliveryRow is one line of the list, which a page or the live stream shows.
type deliveryRow struct {
	contract.Delivery

	// Path is the delivery's page, with the base.
	Path string
	// Last is the attempt that is shown; nil if none is known.
	Last *contract.Attempt
}

// statuses are those of deliveries, in the order of the form.
var statuses = []contract.DeliveryStatus{contract.DeliveryPending, contract.DeliverySucceeded, contract.DeliveryFailed, contract.DeliveryCanceled}

// Statuses are for the template.
func (search) Statuses() []contract.DeliveryStatus { return statuses }

// formTime is how a browser writes the time of a field; ours are in UTC.
const formTime = "2006-01-02T15:04"

// query is the search as the API reads it. A time that can't be read the API is given as it is, to name it.
func (s search) query(cursor string) url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"status": s.Status, "type": s.Type, "event_id": s.EventID, "since": apiTime(s.Since), "until": apiTime(s.Until), "cursor": cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

func apiTime(typed string) string {
	for _, layout := range []string{formTime, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, typed); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return typed
}

func listDeliveries(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	asked := v.r.URL.Query()
	data := deliveriesPage{Subscription: sub, Search: search{asked.Get("status"), asked.Get("type"), asked.Get("event_id"), asked.Get("since"), asked.Get("until")}}
	data.Live = data.Search == search{} && asked.Get("cursor") == ""
	var found list[contract.Delivery]
	if err := v.api.get(v.r.Context(), v.apiPath("deliveries"), data.Search.query(asked.Get("cursor")), &found); err != nil {
		return err
	}
	data.Deliveries = v.rows(found.Items)
	if found.NextCursor != "" {
		asked.Set("cursor", found.NextCursor)
		asked.Del("done")
		data.Next = "?" + asked.Encode()
	}
	return v.page("deliveries", "Deliveries", data)
}

func (v *visit) rows(deliveries []contract.Delivery) []deliveryRow {
	rows := make([]deliveryRow, len(deliveries))
	for i, d := range deliveries {
		rows[i] = v.row(d, nil)
	}
	return rows
}

func (v *visit) row(d contract.Delivery, last *contract.Attempt) deliveryRow {
	return deliveryRow{d, v.base + v.pagePath() + "/deliveries/" + url.PathEscape(d.ID), last}
}

// deliveryPage is one delivery with its attempts.
type deliveryPage struct {
	Subscription subscription
	contract.Delivery

	Shown []attemptView
	// Soon tells that it will change within moments, so that a page that is open may look again.
	Soon bool
	// Path is the page's own.
	Path string
}

// soon is how close an attempt is that an open page waits for.
const soon = time.Minute

// CanReplay tells whether it can be sent again: a pending one is about to be by itself, and a test event is not kept.
func (d deliveryPage) CanReplay() bool {
	return d.Status != contract.DeliveryPending && d.Subscription.Active() && !d.IsTest(d.Subscription.Resource)
}

func showDelivery(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	data := deliveryPage{Subscription: sub}
	if err := v.api.get(v.r.Context(), v.apiPath("deliveries", v.r.PathValue("delivery")), nil, &data.Delivery); err != nil {
		return err
	}
	data.Path = v.pagePath() + "/deliveries/" + url.PathEscape(data.ID)
	data.Soon = data.Status == contract.DeliveryPending && data.NextAttempt.Sub(v.Now()) < soon
	longest := 0.0
	for _, a := range data.Attempts {
		longest = max(longest, millisecondsOf(a))
	}
	for _, a := range data.Attempts {
		data.Shown = append(data.Shown, viewOf(a, longest))
	}
	return v.page("delivery", "A delivery of "+data.EventType, data)
}

func replayDelivery(v *visit) error {
	var asked replay
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiPath("deliveries", v.r.PathValue("delivery"), "replay"), nil, &asked); err != nil {
		return err
	}
	return v.goTo(v.pagePath()+"/replay/"+url.PathEscape(asked.ID), "replaying")
}
