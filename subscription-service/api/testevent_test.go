package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func TestATestEventIsACommandForThisSubscription(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook, "types": []string{"order.paid"}}).text(t, "id")
	a := w.as(acme, "POST", "/orders/subscribe/"+id+"/test", nil)
	require.Equal(t, http.StatusAccepted, a.status, "%s", a.body)
	sent := w.publisher.take()
	require.Len(t, sent, 1)
	require.Equal(t, rabbit.NamesFor("test").Commands, sent[0].Exchange)
	cmd, err := contract.DecodeCommand(sent[0].ContentType, sent[0].Headers, sent[0].Body)
	require.NoError(t, err)
	require.Equal(t, a.text(t, "delivery_id"), cmd.Delivery)
	require.Equal(t, id, cmd.Subscription)
	require.Equal(t, "webhook.test", cmd.Event.Type())
	require.NotEqual(t, a.text(t, "delivery_id"), w.as(acme, "POST", "/orders/subscribe/"+id+"/test", nil).text(t, "delivery_id"))
}

func TestAPausedSubscriptionGetsNoTestEvent(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.as(acme, "PATCH", "/orders/subscribe/"+id, map[string]any{"status": "paused"})
	w.as(acme, "POST", "/orders/subscribe/"+id+"/test", nil).problem(t, http.StatusConflict)
	require.Empty(t, w.publisher.take())
}

func TestWithoutTheBrokerATestEventIsRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	id := w.as(acme, "POST", "/orders/subscribe", map[string]any{"callback_url": hook}).text(t, "id")
	w.publisher.fail(rabbit.ErrUnavailable)
	w.as(acme, "POST", "/orders/subscribe/"+id+"/test", nil).problem(t, http.StatusServiceUnavailable)
}
