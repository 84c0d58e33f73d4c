package portal

import (
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// subscription is one as the API shows it.
type subscription struct {
	ID           string            `json:"id"`
	Resource     string            `json:"resource"`
	Status       contract.Status   `json:"status"`
	StatusReason string            `json:"status_reason"`
	CallbackURL  string            `json:"callback_url"`
	Types        []string          `json:"types"`
	Description  string            `json:"description"`
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	Format       contract.Format   `json:"format"`
	Ordering     contract.Ordering `json:"ordering"`
}

// Path is the page of the subscription.
func (s subscription) Path() string {
	return "/portal/resources/" + s.Resource + "/subscriptions/" + s.ID
}

// list is a page of the API's lists.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor"`
}

// subscriptionsPage lists a consumer's subscriptions to one resource.
type subscriptionsPage struct {
	Resource      string
	Subscriptions []subscription
	// Next is the address of the next page; empty at the end.
	Next string
}

func listSubscriptions(v *visit) error {
	resource := v.r.PathValue("resource")
	query := url.Values{}
	if cursor := v.r.URL.Query().Get("cursor"); cursor != "" {
		query.Set("cursor", cursor)
	}
	var found list[subscription]
	if err := v.api.get(v.r.Context(), "/"+url.PathEscape(resource)+"/subscribe", query, &found); err != nil {
		return err
	}
	data := subscriptionsPage{Resource: resource, Subscriptions: found.Items}
	if found.NextCursor != "" {
		data.Next = "?" + url.Values{"cursor": {found.NextCursor}}.Encode()
	}
	return v.page("subscriptions", "Subscriptions to "+resource, data)
}
