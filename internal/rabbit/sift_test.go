package rabbit

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// siftable is a connection whose dead queue holds n messages.
func siftable(t *testing.T, n int) (*Conn, string) {
	t.Helper()
	url := brokerURL(t)
	c, err := Open(t.Context(), url, Options{Namespace: namespace(t, url)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	messages := make([]Message, n)
	for i := range messages {
		messages[i] = c.Names().ToDead("it was bad", Message{RoutingKey: "orders.order.created", Body: []byte(fmt.Sprint(i))})
	}
	require.NoError(t, c.Publisher().Publish(t.Context(), messages...))
	return c, c.Names().Dead
}

func waiting(t *testing.T, c *Conn, queue string) int {
	t.Helper()
	depths, err := c.Depths(t.Context(), queue)
	require.NoError(t, err)
	return depths[queue]
}

func TestSiftingKeepsWhatIsPublishedAgainAndTakesTheRest(t *testing.T) {
	c, queue := siftable(t, 500)
	taken, err := c.Sift(t.Context(), queue, 450, func(ctx context.Context, batch []Message) error {
		var kept []Message
		for _, m := range batch {
			if len(m.Body)%2 == 0 {
				kept = append(kept, c.Names().ToDead("it was bad", m))
			}
		}
		return c.Publisher().Publish(ctx, kept...)
	})
	require.NoError(t, err)
	require.Equal(t, 450, taken)
	eventually(t, "those of two digits and those not looked at are left", func() bool { return waiting(t, c, queue) == 90+50 })

	var order []string
	_, err = c.Sift(t.Context(), queue, 140, func(_ context.Context, batch []Message) error {
		for _, m := range batch {
			order = append(order, string(m.Body))
			require.Equal(t, "it was bad", m.Headers[HeaderReason])
			require.Equal(t, "orders.order.created", m.RoutingKey)
		}
		return nil
	})
	require.NoError(t, err)
	require.Len(t, order, 140)
	require.Contains(t, order, "450", "it was not looked at")
	require.Contains(t, order, "10", "it was kept")
	require.NotContains(t, order, "100", "it was taken")
}

func TestABatchThatCanNotBeSiftedGoesBack(t *testing.T) {
	c, queue := siftable(t, 10)
	broken := errors.New("broken")
	taken, err := c.Sift(t.Context(), queue, 10, func(context.Context, []Message) error { return broken })
	require.ErrorIs(t, err, broken)
	require.Zero(t, taken)
	eventually(t, "all are left", func() bool { return waiting(t, c, queue) == 10 })
}

func TestSiftingEndsWithItsContextWhereTheQueueHoldsLess(t *testing.T) {
	c, queue := siftable(t, 3)
	ctx, cancel := context.WithCancel(t.Context())
	taken, err := c.Sift(ctx, queue, 10, func(context.Context, []Message) error { cancel(); return nil })
	require.NoError(t, err)
	require.LessOrEqual(t, taken, 3)
	require.Positive(t, taken)
}
