package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// pulls makes the bench's subscription one that collects by itself.
func (b *bench) pulls(t *testing.T, change func(*contract.Subscription)) {
	t.Helper()
	b.change(t, func(s *contract.Subscription) {
		s.Mode, s.CallbackURL = contract.ModePull, ""
		change(s)
	})
}

func asItIs(*contract.Subscription) {}

// bornNow makes deliveries of this moment of messages that are made of old ones.
func bornNow(messages ...rabbit.Message) []rabbit.Message {
	for _, m := range messages {
		m.Headers["x-webhook-created"] = time.Now().UnixMilli()
	}
	return messages
}

// pulled marks a message as the listener does.
func pulled(messages ...rabbit.Message) []rabbit.Message {
	for _, m := range messages {
		m.Headers["x-webhook-pull"] = true
	}
	return messages
}

func (b *bench) letters(t *testing.T, n int) []store.Kept {
	t.Helper()
	var kept []store.Kept
	require.Eventually(t, func() bool {
		var err error
		_, kept, err = b.store.Letters(t.Context(), b.sub.ID, 0, 1000, 1<<20)
		return err == nil && len(kept) >= n
	}, 20*time.Second, 5*time.Millisecond)
	require.Len(t, kept, n)
	return kept
}

func (b *bench) reasonIs(t *testing.T, id, reason string) contract.Delivery {
	t.Helper()
	var d contract.Delivery
	require.Eventually(t, func() bool {
		d, _ = b.store.Delivery(t.Context(), b.sub.ID, id)
		return d.Reason == reason
	}, 20*time.Second, 5*time.Millisecond)
	return d
}

func TestWhatIsPulledWaitsInTheMailboxAndNobodyIsCalled(t *testing.T) {
	b := start(t, func(context.Context, int) (gateway.Answer, error) { return gateway.Answer{}, errors.New("no gateway") })
	b.pulls(t, asItIs)
	b.send(t, append(pulled(b.message("a", 1)), b.message("b", 1))...) // one command does not say it
	for _, l := range b.letters(t, 2) {
		require.JSONEq(t, fmt.Sprintf(`{"id":%q}`, strings.TrimSuffix(strings.TrimPrefix(l.Command.Delivery, "dlv_"), b.tag)), string(l.Body))
		require.Equal(t, "application/json", l.Header["content-type"])
		require.NotEmpty(t, l.Header["traceparent"])
		require.NotContains(t, l.Header, "webhook-signature", "it is signed when it is collected")
	}
	d := b.reasonIs(t, b.id("a"), contract.ReasonWaits)
	require.Equal(t, contract.DeliveryPending, d.Status)
	require.Zero(t, d.AttemptCount)
	require.Empty(t, b.calls)

	b.send(t, pulled(b.message("a", 1), b.message("c", 1))...)
	b.letters(t, 3) // the one that came twice is there once
}

func TestAGatewayThatFailsHoldsNoMailUp(t *testing.T) {
	b := start(t, func(context.Context, int) (gateway.Answer, error) { return gateway.Answer{}, errors.New("no gateway") })
	pusher := b.another(t, "https://other.example/hooks")
	b.send(t, b.messages(pusher, 20)...)
	for range gateThreshold {
		b.call(t)
	}
	b.pulls(t, asItIs)
	for i := range 50 {
		b.send(t, pulled(b.message(fmt.Sprint(i), 1))...)
	}
	b.letters(t, 50)
}

func TestAFullMailboxParksAndDrains(t *testing.T) {
	b := start(t, status(200))
	_, err := b.store.PutResource(t.Context(), contract.Resource{Name: "orders", Policy: []byte(`{"mailbox":{"max_bytes":6000}}`)})
	require.NoError(t, err)
	b.pulls(t, asItIs)
	const n = 20
	for i := range n {
		b.send(t, bornNow(pulled(b.message(fmt.Sprint(i), 1))...)...)
	}
	b.reasonIs(t, b.id(fmt.Sprint(n-1)), whyMailbox)
	seen := map[string]bool{}
	require.Eventually(t, func() bool {
		_, kept, err := b.store.Letters(t.Context(), b.sub.ID, 0, 1000, 1<<20)
		require.NoError(t, err)
		require.Less(t, len(kept), n, "it is bounded")
		var out []store.Waiting
		for _, l := range kept {
			seen[l.Command.Delivery] = true
			out = append(out, store.Waiting{Delivery: l.Command.Delivery, Place: l.Place})
		}
		_, err = b.store.TakeOut(t.Context(), b.sub.ID, out)
		require.NoError(t, err)
		return len(seen) == n
	}, 60*time.Second, 20*time.Millisecond, "nothing is lost")
}

func TestMailThatFindsNoRoomUntilItIsTooOldIsGivenUp(t *testing.T) {
	b := start(t, status(200))
	_, err := b.store.PutResource(t.Context(), contract.Resource{Name: "orders", Policy: []byte(`{"mailbox":{"max_bytes":3000}}`)})
	require.NoError(t, err)
	b.pulls(t, asItIs)
	const n = 10
	for i := range n { // deliveries of long ago
		b.send(t, pulled(b.message(fmt.Sprint(i), 1))...)
	}
	d := b.reasonIs(t, b.id(fmt.Sprint(n-1)), "not collected in time: there was no room in the mailbox")
	require.Equal(t, contract.DeliveryFailed, d.Status)
	require.Equal(t, 1, d.AttemptCount)
}

func TestMailOfALineComesInItsOrder(t *testing.T) {
	b := start(t, status(200))
	b.pulls(t, func(s *contract.Subscription) { s.Ordering = contract.OrderingSubject })
	messages := pulled(b.ordered(t, "a", 8)...)
	for i := range messages { // whichever comes first
		b.send(t, messages[(i*3)%8])
	}
	var got []string
	for _, l := range b.letters(t, 8) {
		got = append(got, l.Command.Delivery)
	}
	var want []string
	for _, m := range messages {
		want = append(want, m.ID)
	}
	require.Equal(t, want, got)
}

func TestATransformThatFailsGivesADeliveryUpThatIsPulled(t *testing.T) {
	b := start(t, status(200))
	b.pulls(t, func(s *contract.Subscription) { s.Transform = `data.no.such` })
	b.send(t, pulled(b.message("a", 1))...)
	d := b.settledAs(t, b.id("a"), contract.DeliveryFailed)
	require.Contains(t, d.Reason, "transform")
	require.Equal(t, 1, d.AttemptCount)
	require.Equal(t, d.Reason, b.deadLetter(t, b.id("a")).Headers[rabbit.HeaderReason])
	b.letters(t, 0)
}

func TestAnEventThatNoMailboxCanHoldIsGivenUp(t *testing.T) {
	b := start(t, status(200))
	_, err := b.store.PutResource(t.Context(), contract.Resource{Name: "orders", Policy: []byte(`{"mailbox":{"max_bytes":10}}`)})
	require.NoError(t, err)
	b.pulls(t, asItIs)
	b.send(t, pulled(b.message("a", 1))...)
	require.Contains(t, b.settledAs(t, b.id("a"), contract.DeliveryFailed).Reason, "max_bytes")
}
