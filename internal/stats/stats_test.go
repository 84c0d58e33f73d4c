package stats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a store that can be cut off.
type book struct {
	mu    sync.Mutex
	away  bool
	added map[string]int64
}

func (b *book) AddStats(_ context.Context, stats []store.Stat) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return errors.New("no Redis")
	}
	for _, s := range stats {
		b.added[s.Resource+"/"+s.Subscription] += s.Events + s.Succeeded + s.Failed
	}
	return nil
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func counter() (*Counter, *book) {
	b := &book{added: map[string]int64{}}
	return New(b, zap.NewNop(), func() time.Time { return noon }), b
}

func TestWhatHappensIsCountedForTheSubscriptionItsResourceAndInAll(t *testing.T) {
	c, b := counter()
	c.Attempt("orders", "sub_1", true, time.Millisecond)
	c.Attempt("orders", "sub_2", false, time.Millisecond)
	c.Events("orders", 3)
	c.Events("users", 1)
	c.flush(t.Context())
	require.Equal(t, map[string]int64{"orders/sub_1": 1, "orders/sub_2": 1, "orders/": 5, "users/": 1, "/": 6}, b.added)
	c.flush(t.Context())
	require.EqualValues(t, 6, b.added["/"], "nothing is added twice")
	(*Counter)(nil).Attempt("orders", "sub_1", true, 0)
	(*Counter)(nil).Events("orders", 1)
}

func TestWhatCanNotBeAddedIsAddedLater(t *testing.T) {
	c, b := counter()
	b.away = true
	c.Attempt("orders", "sub_1", true, time.Millisecond)
	c.flush(t.Context())
	c.Attempt("orders", "sub_1", true, time.Millisecond)
	b.away = false
	c.flush(t.Context())
	require.EqualValues(t, 2, b.added["orders/sub_1"])
}

func TestTheSubscriptionsThatAreCountedAreBoundedAndTheirResourceIsNot(t *testing.T) {
	c, b := counter()
	for i := range mostCounted + 100 {
		c.Attempt("orders", fmt.Sprint("sub_", i), true, time.Millisecond)
	}
	require.Len(t, c.counts, mostCounted)
	c.flush(t.Context())
	require.EqualValues(t, mostCounted+100, b.added["orders/"])
}

func TestTheEndAddsWhatIsLeft(t *testing.T) {
	c, b := counter()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	c.Events("orders", 2)
	cancel()
	require.NoError(t, <-done)
	require.EqualValues(t, 2, b.added["orders/"])
}
