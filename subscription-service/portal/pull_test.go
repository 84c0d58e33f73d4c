package portal_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestASubscriptionWhoseEventsAreCollected(t *testing.T) {
	s := setScene(t)
	page := s.open("/portal/resources/orders/new")
	made := s.post(page, "/portal/resources/orders/new", url.Values{
		"mode": {"pull"}, "type": {"order.created"}, "filter": {"data.total > 1.0"}, "format": {"data"}, "signature": {"v1"}, "description": {"collected"},
		"callback_url": {""}, "headers": {""}, "auth_type": {"none"}, "max_in_flight": {""}, "ordering": {"none"},
	})
	require.Contains(t, made.body, "whsec_")
	list := s.open("/portal/resources/orders/").body
	_, rest, _ := strings.Cut(list, `href="/portal/resources/orders/subscriptions/`)
	id, _, _ := strings.Cut(rest, `"`)
	path := "/portal/resources/orders/subscriptions/" + id
	shown := s.open(path)
	require.Contains(t, shown.body, "/orders/subscribe/"+id+"/stream -H")
	require.NotContains(t, shown.body, "Callback URL")

	edit := s.open(path + "/edit")
	require.NotContains(t, edit.body, `name="callback_url"`)
	require.NotContains(t, edit.body, `name="mode"`)
	same := url.Values{"type": {"order.created"}, "filter": {"data.total > 1.0"}, "format": {"data"}, "signature": {"v1"}, "description": {"collected"}, "ordering": {"none"}}
	require.Contains(t, s.post(edit, path+"/edit", same).body, "Nothing was different")
	same.Set("filter", "data.total > 2.0")
	require.Contains(t, s.post(edit, path+"/edit", same).body, "The subscription is changed.")
	same.Del("csrf")
	same.Set("mode", "pull")
	require.Contains(t, s.post(page, "/portal/resources/orders/check", same).body, "gets this event")
}
