package rabbit

import (
	"context"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func inspected(t *testing.T, url, namespace string) Inspection {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	found, err := Inspect(ctx, url, Options{Namespace: namespace, Name: "inspecting"})
	require.NoError(t, err)
	require.NoError(t, found.Unasked)
	return found
}

func TestInspectionMakesNothingAndMissesNothing(t *testing.T) {
	url, namespace := testkit.AMQP(t), testkit.Namespace(t)
	before := inspected(t, url, namespace)
	require.Equal(t, "RabbitMQ", before.Product)
	require.NotEmpty(t, before.Version)
	require.Empty(t, before.Blocked)
	for _, o := range before.Objects {
		require.True(t, o.Missing(), "%s %s", o.Kind, o.Name)
	}
	conn, err := Open(t.Context(), url, Options{Namespace: namespace})
	require.NoError(t, err)
	defer conn.Close()
	removeAll(t, url, before)
	require.NoError(t, conn.Publisher().Publish(t.Context(), conn.Names().ToOperations("a.b", Message{ID: "1"})))
	after := inspected(t, url, namespace)
	require.Len(t, after.Objects, len(before.Objects))
	for _, o := range after.Objects {
		require.NoError(t, o.Err, "%s %s", o.Kind, o.Name)
		if o.Name == conn.Names().Operations && o.Kind == "queue" {
			require.Equal(t, 1, o.Messages)
		}
	}
	require.Contains(t, after.Bindings, Binding{conn.Names().Events, conn.Names().Events, "#"})
}

// removeAll takes a namespace's topology off the broker when the test ends.
func removeAll(t *testing.T, url string, found Inspection) {
	t.Helper()
	t.Cleanup(func() {
		conn, err := amqp.Dial(url)
		require.NoError(t, err)
		defer conn.Close()
		for _, o := range found.Objects {
			_ = look(conn, o, func(ch *amqp.Channel, o *Object) error {
				if o.Kind == "exchange" {
					return ch.ExchangeDelete(o.Name, false, false)
				}
				_, err := ch.QueueDelete(o.Name, false, false, false)
				return err
			})
		}
	})
}

func TestAGuestMakesNothing(t *testing.T) {
	url, namespace := testkit.AMQP(t), testkit.Namespace(t)
	conn, err := Open(t.Context(), url, Options{Namespace: namespace, Guest: true})
	require.NoError(t, err)
	for _, o := range inspected(t, url, namespace).Objects {
		require.True(t, o.Missing(), "%s %s", o.Kind, o.Name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.Error(t, conn.Publisher().Publish(ctx, conn.Names().ToEvents("a.b", Message{ID: "1"})), "there is no exchange")
	require.NoError(t, conn.Close())
}

func TestAGuestDoesNotWaitForABroker(t *testing.T) {
	begin := time.Now()
	_, err := Open(t.Context(), "amqp://guest:secret-password@127.0.0.1:1/", Options{Guest: true})
	require.Error(t, err)
	require.False(t, strings.Contains(err.Error(), "secret-password"))
	require.Less(t, time.Since(begin), 5*time.Second)
}

func TestInspectionTellsOfAnAlarm(t *testing.T) {
	b := broker(t)
	watermark(t, b, "0.00000001")
	t.Cleanup(func() { watermark(t, b, "0.6") })
	eventually(t, "blocked", func() bool {
		return strings.Contains(inspected(t, b.URL, testkit.Namespace(t)).Blocked, "memory")
	})
}
