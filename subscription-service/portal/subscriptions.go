package portal

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
)

// subscription is one as the API shows it.
type subscription struct{ contract.SubscriptionView }

// Path is the page of the subscription.
func (s subscription) Path() string { return resourcePath(s.Resource) + "subscriptions/" + s.ID }

// Active, Paused and Pending are for templates.
func (s subscription) Active() bool  { return s.Status == contract.StatusActive }
func (s subscription) Paused() bool  { return s.Status == contract.StatusPaused }
func (s subscription) Pending() bool { return s.Status == contract.StatusPending }

// Pull tells that the consumer fetches its events, rather than getting callbacks.
func (s subscription) Pull() bool { return s.Mode == contract.ModePull }

// Name is what a page calls it.
func (s subscription) Name() string {
	switch {
	case s.Description != "":
		return s.Description
	case s.CallbackURL != "":
		return s.CallbackURL
	}
	return s.ID
}

func resourcePath(resource string) string { return "/portal/resources/" + resource + "/" }

// list is a page of the API's lists.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// resource is the one that a page is about. As it stands in a path of the API, nothing can be put between.
func (v *visit) resource() string { return url.PathEscape(v.r.PathValue("resource")) }

// apiPath is the API's path of the page's subscription, with what comes below it.
func (v *visit) apiPath(below ...string) string {
	path := "/" + v.resource() + "/subscribe/" + url.PathEscape(v.r.PathValue("id"))
	for _, segment := range below {
		path += "/" + url.PathEscape(segment)
	}
	return path
}

// pagePath is the portal's path of the page's subscription.
func (v *visit) pagePath() string {
	return resourcePath(v.resource()) + "subscriptions/" + url.PathEscape(v.r.PathValue("id"))
}

// subscription reads the page's.
func (v *visit) subscription() (sub subscription, err error) {
	err = v.api.get(v.r.Context(), v.apiPath(), nil, &sub)
	return sub, err
}

// subscriptionsPage lists a consumer's subscriptions to one resource.
type subscriptionsPage struct {
	Resource      string
	Subscriptions []subscription
	// Next is the address of the next page; empty at the end.
	Next string
}

func listSubscriptions(v *visit) error {
	query := url.Values{}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	var found list[subscription]
	if err := v.api.get(v.r.Context(), "/"+v.resource()+"/subscribe", query, &found); err != nil {
		return err
	}
	data := subscriptionsPage{Resource: v.r.PathValue("resource"), Subscriptions: found.Items}
	if found.NextCursor != "" {
		data.Next = "?" + url.Values{"cursor": {found.NextCursor}}.Encode()
	}
	return v.page("subscriptions", "Subscriptions to "+data.Resource, data)
}

// subscriptionPage is all about one subscription.
type subscriptionPage struct {
	subscription

	Deliveries []deliveryRow
	Stats      *statsPage
	// Gateway is its public address.
	Gateway string
}

func showSubscription(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	data := subscriptionPage{subscription: sub, Gateway: v.At.URL}
	var found list[contract.Delivery]
	if err := v.api.get(v.r.Context(), v.apiPath("deliveries"), url.Values{"limit": {"5"}}, &found); err != nil {
		return err
	}
	data.Deliveries = v.rows(found.Items)
	if data.Stats, err = v.stats(v.apiPath("stats"), ""); err != nil {
		return err
	}
	return v.page("subscription", sub.Name(), data)
}

func init() {
	doneTexts["paused"] = "The subscription is paused: no callback starts until you resume it."
	doneTexts["resumed"] = "The subscription is active again."
	doneTexts["asked"] = "The endpoint is asked for its consent again."
	doneTexts["deleted"] = "The subscription is deleted."
	doneTexts["changed"] = "The subscription is changed."
	doneTexts["same"] = "Nothing was different, so nothing was changed."
	doneTexts["tested"] = "The test event was sent: this is its delivery."
	doneTexts["sent"] = "The test event was sent; its delivery will be among the newest in a moment."
}

// pause and resume set the status.
func pause(v *visit) error  { return v.setStatus(contract.StatusPaused, "paused") }
func resume(v *visit) error { return v.setStatus(contract.StatusActive, "resumed") }

func (v *visit) setStatus(status contract.Status, done string) error {
	_, err := v.api.send(v.r.Context(), http.MethodPatch, v.apiPath(), map[string]any{"status": status}, nil)
	if err != nil {
		return err
	}
	return v.goTo(v.pagePath(), done)
}

func verify(v *visit) error {
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiPath("verify"), nil, nil); err != nil {
		return err
	}
	return v.goTo(v.pagePath(), "asked")
}

// A delivery is recorded with its first attempt, which the page of a test event waits for a little.
const testWait, testTries = 150 * time.Millisecond, 20

// test sends a test event and shows its delivery.
func test(v *visit) error {
	var sent struct {
		DeliveryID string `json:"delivery_id"`
	}
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiPath("test"), nil, &sent); err != nil {
		return err
	}
	for range testTries {
		err := v.api.get(v.r.Context(), v.apiPath("deliveries", sent.DeliveryID), nil, nil)
		var p *problem
		switch {
		case err == nil:
			return v.goTo(v.pagePath()+"/deliveries/"+url.PathEscape(sent.DeliveryID), "tested")
		case !errors.As(err, &p) || p.Status != http.StatusNotFound:
			return err
		}
		service.Pause(v.r.Context(), testWait)
	}
	return v.goTo(v.pagePath(), "sent")
}

// confirmDelete asks whether it is meant.
func confirmDelete(v *visit) error {
	sub, err := v.subscription()
	if err != nil {
		return err
	}
	return v.page("delete", "Delete a subscription", sub)
}

func deleteSubscription(v *visit) error {
	if _, err := v.api.send(v.r.Context(), http.MethodDelete, v.apiPath(), nil, nil); err != nil {
		return err
	}
	return v.goTo(resourcePath(v.resource()), "deleted")
}

// rotate makes a new secret and shows it. The form says what it was made from, so that the page sent twice makes one secret.
func rotate(v *visit) error {
	sub, err := v.subscription()
	switch {
	case err != nil:
		return err
	case v.r.PostForm.Get("updated_at") != sub.UpdatedAt.Format(time.RFC3339Nano):
		return &problem{Status: http.StatusConflict, Title: "Changed meanwhile", Detail: "the subscription was changed since the page was opened, maybe by this very form: open it again"}
	}
	if _, err := v.api.send(v.r.Context(), http.MethodPost, v.apiPath("rotate-secret"), nil, &sub); err != nil {
		return err
	}
	return v.page("secret", "The new secret", secretPage{sub, "The secret before signs for 24 hours more, beside the new one."})
}

// secretPage shows a secret this one time.
type secretPage struct {
	subscription

	Note string
}
