package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// explanation is what explain answers of one subscription.
type explanation struct {
	Subscription string `json:"subscription_id"`
	ReceivedAt   string `json:"received_at"`
	Commands     int
	Matched      bool
	Reason       string
	Detail       string
	Values       []struct{ Expression, Value string }
	Delivery     *struct {
		Status   string
		Attempts []struct{ Status int }
	}
}

// explained asks until the answer is about what happened, and not about what is still on its way.
func (s *scene) explained(t *testing.T, id, event, want string) (e explanation) {
	t.Helper()
	eventually(t, event+" is explained as "+want, func() bool {
		e = explanation{}
		answer, err := s.consumer.Do(ctx(t), http.MethodGet, s.path()+"/"+id+"/explain?event="+event+"&source="+url.QueryEscape("/e2e"), nil)
		require.NoError(t, err)
		if answer.Status != http.StatusOK {
			return false
		}
		require.NoError(t, answer.Decode(&e))
		return e.Reason == want && (e.Delivery == nil || e.Delivery.Status == "succeeded")
	})
	return e
}

func TestWhyAnEventArrivedOrDidNotIsExplained(t *testing.T) {
	s := setScene(t)
	r := receiver(t, nil)
	id, _ := s.subscribe(t, r.URL, map[string]any{"types": []string{"order.created"}, "filter": largeOrders})
	require.NoError(t, s.producer.PublishEvents(ctx(t),
		world.Event{Resource: s.resource, ID: "large", Type: "order.created", Data: []byte(`{"total":250.0}`)},
		world.Event{Resource: s.resource, ID: "small", Type: "order.created", Data: []byte(`{"total":12.5}`)},
		world.Event{Resource: s.resource, ID: "other", Type: "order.paid", Data: []byte(`{"total":250.0}`)}))

	large := s.explained(t, id, "large", "matched")
	require.True(t, large.Matched)
	require.Equal(t, 1, large.Commands)
	require.NotEmpty(t, large.ReceivedAt)
	require.Equal(t, []struct{ Status int }{{http.StatusNoContent}}, large.Delivery.Attempts)
	small := s.explained(t, id, "small", "filter")
	require.False(t, small.Matched)
	require.Equal(t, []struct{ Expression, Value string }{{"data.total", "12.5"}}, small.Values)
	require.Contains(t, s.explained(t, id, "other", "type").Detail, "order.paid matches none of order.created")

	var all struct{ Subscriptions struct{ Items []explanation } }
	answer, err := s.Admin().Want(ctx(t), http.StatusOK, http.MethodGet,
		"/admin/v1/events/"+url.PathEscape("/e2e")+"/large/explain?resource="+s.resource, nil)
	require.NoError(t, err)
	require.NoError(t, answer.Decode(&all))
	require.Len(t, all.Subscriptions.Items, 1)
	require.Equal(t, id, all.Subscriptions.Items[0].Subscription)
	require.True(t, all.Subscriptions.Items[0].Matched)
}

// The listener keeps the subscriptions in memory, and yet none that was acknowledged misses the very next event.
func TestASubscriptionGetsTheEventThatIsPublishedRightAfterItWasAcknowledged(t *testing.T) {
	s := setScene(t)
	const n = 50
	r := receiver(t, nil)
	for i := range n {
		s.subscribe(t, fmt.Sprintf("%s?%d", r.URL, i), map[string]any{"types": []string{fmt.Sprintf("order.n%d", i)}})
		require.NoError(t, s.producer.PublishEvents(ctx(t), world.Event{Resource: s.resource, ID: fmt.Sprint(i), Type: fmt.Sprintf("order.n%d", i), Data: []byte(`{}`)}))
	}
	got, err := r.WaitFor(ctx(t), n)
	require.NoError(t, err)
	require.Len(t, got, n)
}
