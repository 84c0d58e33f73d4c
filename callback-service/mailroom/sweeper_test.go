package mailroom

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type publisher struct {
	err  error
	sent []rabbit.Message
}

func (p *publisher) Publish(_ context.Context, messages ...rabbit.Message) error {
	if p.err == nil {
		p.sent = append(p.sent, messages...)
	}
	return p.err
}

// scene is a mailbox with n letters, whose policy gives them an hour.
func scene(t *testing.T, n int) (*Sweeper, *store.Store, *publisher, *time.Time) {
	t.Helper()
	kept, err := store.Open(store.Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t), Keyring: keyring.Ephemeral()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	_, err = kept.PutResource(t.Context(), contract.Resource{Name: "orders", Policy: []byte(`{"mailbox":{"max_age":"1h"}}`)})
	require.NoError(t, err)
	_, _, err = kept.CreateSubscription(t.Context(), contract.Subscription{ID: "sub_1", Consumer: "con_1", Resource: "orders", Mode: contract.ModePull, Status: contract.StatusActive, CreatedAt: time.Now()})
	require.NoError(t, err)
	for i := range n {
		_, err := kept.Deposit(t.Context(), []store.Deposit{letter(i)})
		require.NoError(t, err)
	}
	now, out := time.Now(), &publisher{}
	s := New(Options{
		Store: kept, Publisher: out, Names: rabbit.NamesFor("test"), Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now },
	})
	return s, kept, out, &now
}

func letter(i int) store.Deposit {
	e := event.New()
	e.SetID(fmt.Sprint(i))
	e.SetSource("/shop")
	e.SetType("order.created")
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(`{"total":1}`)
	return store.Deposit{
		Letter:       contract.Letter{Command: contract.NewCommand(&e, "sub_1", "orders", time.Now()), Header: map[string]string{}, Body: []byte(`made of it`)},
		Subscription: "sub_1", Resource: "orders",
	}
}

func waiting(t *testing.T, kept *store.Store) int {
	t.Helper()
	_, letters, err := kept.Letters(t.Context(), "sub_1", 0, 1000, 1<<20)
	require.NoError(t, err)
	return len(letters)
}

func TestWhatNobodyCollectsInTimeIsADeadLetterAndAnOperation(t *testing.T) {
	s, kept, out, now := scene(t, 3)
	*now = now.Add(50 * time.Minute)
	s.sweep(t.Context())
	require.Equal(t, 3, waiting(t, kept))
	*now = now.Add(20 * time.Minute)
	s.sweep(t.Context())
	require.Zero(t, waiting(t, kept))
	require.Len(t, out.sent, 6)
	require.JSONEq(t, `{"total":1}`, string(out.sent[0].Body), "the event as it was, for who replays it")
	require.Equal(t, "not collected in time, which is 1h", out.sent[0].Headers[rabbit.HeaderReason])
	d, err := kept.Delivery(t.Context(), "sub_1", letter(0).Command.Delivery)
	require.NoError(t, err)
	require.Equal(t, contract.DeliveryFailed, d.Status)
	require.Equal(t, 1, d.AttemptCount, "a replay makes another attempt")
	s.sweep(t.Context())
	require.Len(t, out.sent, 6)
}

func TestWhatTheBrokerDoesNotTakeStaysUntilItDoes(t *testing.T) {
	s, kept, out, now := scene(t, 1)
	out.err = errors.New("no broker")
	*now = now.Add(2 * time.Hour)
	s.sweep(t.Context())
	require.Equal(t, 1, waiting(t, kept))
	out.err = nil
	*now = now.Add(time.Minute)
	s.sweep(t.Context())
	require.Zero(t, waiting(t, kept))
	require.Len(t, out.sent, 2)
}

func TestWhatWasAcknowledgedStaysSo(t *testing.T) {
	s, kept, _, now := scene(t, 1)
	id := letter(0).Command.Delivery
	require.NoError(t, kept.Record(t.Context(), []store.Record{{Delivery: contract.Delivery{
		ID: id, Subscription: "sub_1", Status: contract.DeliverySucceeded, AttemptCount: 1, CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}}}))
	*now = now.Add(2 * time.Hour)
	s.sweep(t.Context())
	d, err := kept.Delivery(t.Context(), "sub_1", id)
	require.NoError(t, err)
	require.Equal(t, contract.DeliverySucceeded, d.Status)
}

func TestTheSweeperRunsUntilItIsTold(t *testing.T) {
	s, kept, _, now := scene(t, 1)
	*now = now.Add(2 * time.Hour)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	require.Eventually(t, func() bool { return waiting(t, kept) == 0 }, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-done)
}
