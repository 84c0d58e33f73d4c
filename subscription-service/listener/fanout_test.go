package listener

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// crowd is a fake with as many subscriptions as make a fan-out large.
func crowd(t *testing.T) (f *fake, n int) {
	t.Helper()
	f = newFake(t)
	n = mostInLine + 1
	for i := range n {
		f.subscribe(fmt.Sprintf("sub_%05d", i), "orders")
	}
	return f, n
}

// A crash in the middle repeats one part at most, and leaves nobody out.
func TestAFanOutThatBrokeOffGoesOnWhereItWas(t *testing.T) {
	f, n := crowd(t)
	stop, cancel := context.WithCancel(context.Background())
	f.keepErrs = []error{nil, nil, errors.New("down")} // the third part is published, and nobody knows
	f.listener.Wait = func(context.Context, int) { f.keepErrs = []error{errors.New("down")}; cancel() }
	require.Equal(t, []fate{keep}, f.listener.process(stop, never(), []rabbit.Message{someEvent(1)}))
	first := f.bulk(3 * fanOutPart)

	f.keepErrs = nil
	f.subscribe("sub_00000a", "orders") // after the event: it is owed nothing
	f.listener.fresh.events = nil       // another process
	f.send(someEvent(1))
	second := f.bulk(n - 2*fanOutPart)
	met := map[string]int{}
	for _, c := range append(decode(t, first), decode(t, second)...) {
		met[c.Subscription]++
	}
	require.Len(t, met, n)
	for _, c := range decode(t, second) {
		require.Less(t, met[c.Subscription], 3)
	}
	require.Equal(t, n+1, f.seen[store.EventKey{Resource: "orders", Source: "/shop", ID: "e1"}], "with the one that came meanwhile, which it found done with")
	f.send(someEvent(1))
	f.bulk(0)
}

// The events behind a large one do not wait for it, and yet come behind it for who wants them in order.
func TestOtherEventsDoNotWaitForAFanOutAndStandBehindItInTheirLines(t *testing.T) {
	f, n := crowd(t)
	f.subscribeInOrder("sub_ordered", "orders")
	large, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(1)})
	require.NoError(t, err)
	require.True(t, large[0].large)
	f.bulk(0)
	f.candidates["orders"] = f.candidates["orders"][n:] // all but the ordered one leave
	for _, c := range f.changes[:n] {
		c.Candidate = nil
		f.changes = append(f.changes, c)
	}
	f.send(someEvent(2))
	behind := decode(t, f.commands(1))[0]
	require.Equal(t, contract.DeliveryID("/shop", "e1", "sub_ordered"), f.ahead(behind))

	require.NoError(t, f.listener.fanOut(never(), never(), large[0]))
	require.Equal(t, []string{"sub_ordered"}, subscriptions(decode(t, f.bulk(1))), "those who left meanwhile get nothing")
}

// After a lost connection the event that is handed out again is all that the broker has of it.
func TestALargeEventThatComesAgainIsNotDoneBeforeItsFanOutIs(t *testing.T) {
	f, n := crowd(t)
	first, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(1)})
	require.NoError(t, err)
	again, err := f.listener.handle(never(), never(), []rabbit.Message{someEvent(1)})
	require.NoError(t, err)
	require.True(t, again[0].large)
	done, large := make(chan published, 2), make(chan published, 2)
	handOn([]*rabbit.Delivery{{}}, again, done, large)
	require.Empty(t, done)
	require.NoError(t, f.listener.fanOut(never(), never(), first[0]))
	f.bulk(n)
	require.NoError(t, f.listener.fanOut(never(), never(), again[0]))
	f.bulk(0)
	require.Equal(t, n, again[0].commands)
}

func TestTheEndDoesNotWaitForAFanOut(t *testing.T) {
	f, _ := crowd(t)
	stop, cancel := context.WithCancel(context.Background())
	cancel()
	require.Equal(t, []fate{keep}, f.listener.process(stop, never(), []rabbit.Message{someEvent(1)}))
	f.bulk(0)
}
