package explain

import (
	"context"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func TestWhy(t *testing.T) {
	taken := time.Unix(1e9, 0)
	e := event.New()
	e.SetID("1")
	e.SetSource("/shop")
	e.SetType("order.paid")
	e.DataEncoded = []byte(`{"total": 5}`)
	delivery := &contract.Delivery{ID: "dlv_1"}
	active := contract.Subscription{Status: contract.StatusActive, CreatedAt: taken.Add(-time.Hour)}
	with := func(change func(*contract.Subscription)) contract.Subscription { s := active; change(&s); return s }
	five := []expr.Value{{Expression: "data.total", JSON: "5"}}
	for name, c := range map[string]struct {
		sub      contract.Subscription
		mark     store.Mark
		e        *event.Event
		d        *contract.Delivery
		reason   Reason
		contains string
		values   []expr.Value
	}{
		"delivered":          {sub: active, e: &e, d: delivery, reason: Delivered},
		"through a filter":   {sub: with(func(s *contract.Subscription) { s.Filter = "data.total < 10.0" }), e: &e, d: delivery, reason: Delivered, values: five},
		"dead letter":        {sub: active, mark: store.Mark{Reason: "data/total is no number"}, reason: Policy, contains: "data/total is no number"},
		"subscribed later":   {sub: with(func(s *contract.Subscription) { s.CreatedAt = taken.Add(1) }), e: &e, reason: Later},
		"not archived":       {sub: active, reason: Gone},
		"another type":       {sub: with(func(s *contract.Subscription) { s.Types = []string{"user.*", "order"} }), e: &e, reason: Type, contains: "order.paid matches none of user.*, order"},
		"filter is false":    {sub: with(func(s *contract.Subscription) { s.Filter = "data.total > 10.0" }), e: &e, reason: Filter, contains: "false", values: five},
		"filter can't be":    {sub: with(func(s *contract.Subscription) { s.Filter = "data.nothing > 10.0" }), e: &e, reason: Filter, contains: "can't be put", values: []expr.Value{{Expression: "data.nothing"}}},
		"filter is damaged":  {sub: with(func(s *contract.Subscription) { s.Filter = "((" }), e: &e, reason: Filter, contains: "can't be read"},
		"paused":             {sub: with(func(s *contract.Subscription) { s.Status = contract.StatusPaused }), e: &e, reason: Status, contains: "is paused"},
		"disabled":           {sub: with(func(s *contract.Subscription) { s.Status, s.StatusReason = contract.StatusDisabled, "it answered 410" }), e: &e, reason: Status, contains: "disabled: it answered 410"},
		"nothing against it": {sub: active, e: &e, reason: Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			c.mark.Taken = taken
			answer := Why(c.sub, c.mark, c.e, c.d)
			require.Equal(t, c.reason, answer.Reason)
			require.Equal(t, c.d != nil, answer.Matched)
			require.Contains(t, answer.Detail, c.contains)
			require.Equal(t, c.values, answer.Values)
		})
	}
}

// shelf is an archive in memory that, once it is read, waits for more.
type shelf []rabbit.StreamMessage

func (s shelf) ReadStream(ctx context.Context, _ string, _ rabbit.StreamOffset, handle func(context.Context, []rabbit.StreamMessage) error) error {
	if handle(ctx, s) == nil {
		<-ctx.Done()
	}
	return nil
}

func TestFind(t *testing.T) {
	e := event.New()
	e.SetID("1")
	body, err := contract.EncodePack([]contract.Archived{contract.Archive(&e, "orders", time.Unix(1e9, 0)), contract.Archive(&e, "payments", time.Unix(1e9, 0))})
	require.NoError(t, err)
	archive := shelf{{Message: rabbit.Message{Body: []byte("a marker")}}, {Message: rabbit.Message{ContentType: contract.MediaPack, Body: body}}}
	of := func(resource string) func(contract.Archived) bool {
		return func(a contract.Archived) bool { return a.Resource == resource }
	}
	found, err := Find(t.Context(), archive, "archive", time.Unix(1e9, 0), of("payments"))
	require.NoError(t, err)
	require.Equal(t, "payments", found.Resource)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	found, err = Find(ended, archive, "archive", time.Unix(1e9, 0), of("none"))
	require.NoError(t, err)
	require.Nil(t, found)
}
