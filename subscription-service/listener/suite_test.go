package listener

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// harness is a listener with its surroundings: fakes, or the real Redis and RabbitMQ.
type harness interface {
	resource(name string)
	subscribe(id, resource string, types ...string)
	// subscribeInOrder is for all types, ordered by subject.
	subscribeInOrder(id, resource string)
	// subscribeIf is for all types, with a filter.
	subscribeIf(id, resource, filter string)
	// ahead is the delivery that has to be done with before this command's turn comes; empty if none.
	ahead(c contract.Command) string
	// send publishes messages to the events exchange, by their routing keys.
	send(messages ...rabbit.Message)
	// commands waits for n more commands, dead for n more dead letters.
	commands(n int) []rabbit.Message
	// bulk are those of large fan-outs.
	bulk(n int) []rabbit.Message
	dead(n int) []rabbit.Message
	// listed is a dead letter as the list has it; zero if it does not.
	listed(id string) contract.DeadLetter
	// archived waits until n events of a resource are in the archive.
	archived(resource string, n int) []contract.Archived
	names() rabbit.Names
}

// behaves is what a listener does, whatever it stands on.
func behaves(t *testing.T, start func(t *testing.T) harness) {
	h := start(t)
	h.resource("orders")
	h.subscribe("sub_all", "orders")
	h.subscribe("sub_created", "orders", "order.created", "order.paid")
	h.subscribe("sub_star", "orders", "order.*")
	h.resource("lonely")
	h.resource("payments")
	h.subscribe("sub_payments", "payments", "**")

	t.Run("one command per subscription that wants it", func(t *testing.T) {
		data := []byte(`{"total":   1.50, "ü": "\u00fc"}`)
		h.send(binary("orders.order.created", "e1", "order.created", data))
		commands := decode(t, h.commands(3))
		require.ElementsMatch(t, []string{"sub_all", "sub_created", "sub_star"}, subscriptions(commands))
		for _, c := range commands {
			require.Equal(t, contract.DeliveryID("/shop", "e1", c.Subscription), c.Delivery)
			require.Equal(t, "orders", c.Resource)
			require.Equal(t, 1, c.Attempt)
			require.WithinDuration(t, time.Now(), c.Created, time.Minute)
			require.Equal(t, data, c.Event.DataEncoded, "byte for byte")
			require.Equal(t, "order.created", c.Event.Type())
		}
	})
	t.Run("a structured event, and only those who asked for its type", func(t *testing.T) {
		h.send(rabbit.Message{RoutingKey: "orders", ContentType: "application/cloudevents+json",
			Body: []byte(`{"specversion":"1.0","id":"e2","source":"/shop","type":"order.paid.late","data":[1, 2]}`)})
		commands := decode(t, h.commands(1))
		require.Equal(t, []string{"sub_all"}, subscriptions(commands))
		require.Equal(t, `[1, 2]`, string(commands[0].Event.DataEncoded))
	})
	t.Run("nobody wants it", func(t *testing.T) {
		h.send(binary("lonely.order.created", "e3", "order.created", nil), binary("payments.paid", "e4", "paid", nil))
		require.Equal(t, []string{"sub_payments"}, subscriptions(decode(t, h.commands(1))))
	})
	t.Run("the same event again makes no second delivery", func(t *testing.T) {
		again := binary("payments.paid", "e5", "paid", nil)
		h.send(again, again)
		commands := decode(t, h.commands(1))
		require.Equal(t, contract.DeliveryID("/shop", "e5", "sub_payments"), commands[0].Delivery)
		h.send(again, binary("payments.paid", "e5a", "paid", nil))
		require.Equal(t, "e5a", decode(t, h.commands(1))[0].Event.ID())
		other := binary("payments.paid", "e5", "paid", nil)
		other.Headers["cloudEvents_source"] = "/another"
		h.send(other)
		require.Equal(t, "/another", decode(t, h.commands(1))[0].Event.Source(), "the same id of another source is another event")
	})
	t.Run("an event that nobody wanted may come again", func(t *testing.T) {
		h.resource("late")
		h.send(binary("late.a", "e8", "a", nil))
		h.subscribe("sub_late", "late")
		h.send(binary("late.a", "e8", "a", nil))
		require.Equal(t, []string{"sub_late"}, subscriptions(decode(t, h.commands(1))))
	})
	t.Run("every event is archived, wanted or not", func(t *testing.T) { archives(t, h) })
	t.Run("ordered deliveries stand in line by subject", func(t *testing.T) { inLine(t, h) })
	t.Run("a filter chooses among the events of its types", func(t *testing.T) { filtered(t, h) })
	t.Run("a new subscription gets the next event", func(t *testing.T) {
		h.subscribe("sub_new", "lonely", "a")
		h.send(binary("lonely.a", "e6", "a", nil))
		require.Equal(t, []string{"sub_new"}, subscriptions(decode(t, h.commands(1))))
	})
	t.Run("what can't be processed is a dead letter, and holds nobody up", func(t *testing.T) { poison(t, h) })
	t.Run("a large fan-out", func(t *testing.T) {
		const n = 2*mostInLine + 100
		h.resource("many")
		for i := range n {
			h.subscribe(fmt.Sprintf("sub_%d", i), "many")
		}
		h.send(binary("many.x", "e7", "x", []byte(`{}`)))
		seen := map[string]bool{}
		for _, c := range decode(t, h.bulk(n)) {
			seen[c.Subscription] = true
		}
		require.Len(t, seen, n)
		h.send(binary("many.x", "e7", "x", []byte(`{}`)), binary("payments.paid", "e9", "paid", nil))
		h.commands(1)
		h.bulk(0)
	})
}

func inLine(t *testing.T, h harness) {
	h.resource("ledger")
	h.subscribeInOrder("sub_ordered", "ledger")
	h.subscribe("sub_unordered", "ledger")
	var batch []rabbit.Message
	for _, id := range []string{"a1", "b1", "a2", "a3"} {
		m := binary("ledger.entry", id, "entry", nil)
		m.Headers["cloudEvents_subject"] = id[:1]
		batch = append(batch, m)
	}
	h.send(batch...)
	delivery := func(event string) string { return contract.DeliveryID("/shop", event, "sub_ordered") }
	want := map[string]string{"a1": "", "a2": delivery("a1"), "a3": delivery("a1"), "b1": ""}
	for _, c := range decode(t, h.commands(2*len(batch))) {
		require.Equal(t, c.Subscription == "sub_ordered", c.Ordered)
		if c.Ordered {
			require.Equal(t, want[c.Event.ID()], h.ahead(c), c.Event.ID())
		}
	}
}

func filtered(t *testing.T, h harness) {
	h.resource("sales")
	h.subscribeIf("sub_large", "sales", `data.total > 100.0`)
	h.subscribeIf("sub_euro", "sales", `data.currency == "EUR" && type != "refund"`)
	h.subscribeIf("sub_broken", "sales", `data.total >`)
	h.send(
		binary("sales.order", "s1", "order", []byte(`{"total":250,"currency":"EUR"}`)),
		binary("sales.order", "s2", "order", []byte(`{"total":250}`)), // no currency: no match
		binary("sales.order", "s3", "order", []byte(`{"total":1,"currency":"EUR"}`)),
		binary("sales.refund", "s4", "refund", []byte(`{"total":100,"currency":"EUR"}`)),
		binary("sales.refund", "s5", "refund", nil),
		binary("sales.order", "s6", "order", []byte(`{"total":101.5,"currency":"USD"}`)),
	)
	var got []string
	for _, c := range decode(t, h.commands(5)) {
		got = append(got, c.Subscription+" "+c.Event.ID())
	}
	require.ElementsMatch(t, []string{"sub_large s1", "sub_euro s1", "sub_large s2", "sub_euro s3", "sub_large s6"}, got)
}

func archives(t *testing.T, h harness) {
	h.resource("kept")
	h.subscribe("sub_kept", "kept", "wanted")
	full := binary("kept.a", "full", "wanted", []byte("{\"n\":  1.50}"))
	full.Headers["cloudEvents_num"], full.Headers["cloudEvents_yes"], full.Headers["cloudEvents_subject"] = int32(5), true, "grüße"
	raw := rabbit.Message{RoutingKey: "kept", ContentType: "application/cloudevents+json",
		Body: []byte(`{"specversion":"1.0","id":"raw","source":"/shop","type":"unwanted","datacontenttype":"text/plain","data_base64":"aGVsbG8="}`)}
	large := binary("kept", "large", "unwanted", bytes.Repeat([]byte("x"), contract.MaxEvent))
	large.ContentType = "text/plain"
	begin := time.Now().Add(-time.Millisecond)
	h.send(full, raw, full, large, binary("kept", "last", "wanted", nil), rabbit.Message{RoutingKey: "kept.no.event"})
	h.dead(1)
	commands := decode(t, h.commands(2))
	h.send(full, binary("kept", "next", "wanted", nil))
	h.commands(1)

	kept := h.archived("kept", 5)
	var ids []string
	for _, a := range kept {
		require.WithinRange(t, a.Taken, begin, time.Now())
		e, err := a.Event()
		require.NoError(t, err)
		ids = append(ids, e.ID())
	}
	require.Equal(t, []string{"full", "raw", "large", "last", "next"}, ids, "in order, the repeated ones once")
	require.Equal(t, commands[0].Created, kept[0].Taken, "that is when its deliveries came to be")
	require.Equal(t, full.Body, kept[0].Body)
	require.Equal(t, full.Headers, kept[0].Headers)
	require.Equal(t, "hello", string(kept[1].Body))
	require.True(t, kept[1].Base64)
	require.True(t, bytes.Equal(large.Body, kept[2].Body))
}

func poison(t *testing.T, h harness) {
	big := bytes.Repeat([]byte("x"), contract.MaxEvent+1)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(`{}`))
	require.NoError(t, z.Close())
	compressed := binary("payments.zip", "z", "zip", zipped.Bytes())
	compressed.ContentEncoding = "gzip"
	long := binary("payments.long", "l", "long", []byte(`{}`))
	long.Headers["cloudEvents_subject"] = strings.Repeat("s", rabbit.MaxHeaders-250) // a command's own headers make it too long
	cases := map[string]struct {
		message rabbit.Message
		reason  []string
	}{
		"no event":         {rabbit.Message{RoutingKey: "payments.x", ContentType: "text/plain", Body: []byte("hello")}, []string{"not a CloudEvent", "specversion"}},
		"no JSON":          {rabbit.Message{RoutingKey: "payments.x", ContentType: "application/cloudevents+json", Body: []byte(`{"id":`)}, []string{"JSON"}},
		"no type":          {rabbit.Message{RoutingKey: "payments.x", ContentType: "application/cloudevents+json", Body: []byte(`{"specversion":"1.0","id":"1","source":"/s"}`)}, []string{"type"}},
		"batch":            {rabbit.Message{RoutingKey: "payments.x", ContentType: "application/cloudevents-batch+json", Body: []byte(`[]`)}, []string{"batch"}},
		"unknown resource": {binary("nothing.x", "p1", "x", nil), []string{"nothing", "does not exist"}},
		"invalid resource": {binary("Orders.x", "p2", "x", nil), []string{"routing key", "Orders"}},
		"reserved":         {binary("admin.x", "p3", "x", nil), []string{"reserved"}},
		"empty key":        {binary("", "p4", "x", nil), []string{"routing key is empty"}},
		"empty resource":   {binary(".x", "p5", "x", nil), []string{"routing key"}},
		"too long":         {rabbit.Message{RoutingKey: "payments.big", ContentType: "text/plain", Headers: binary("", "b", "big", nil).Headers, Body: big}, []string{"10485760"}},
		"compressed":       {compressed, []string{"content-encoding", "uncompressed"}},
		"long attributes":  {long, []string{"too long"}},
	}
	want := map[string]string{}
	for name, c := range cases {
		c.message.ID = name
		good := binary("payments.ok", "good-"+name, "ok", []byte(`{}`))
		h.send(c.message, good)
		want[name] = name
	}
	for _, c := range decode(t, h.commands(len(cases))) {
		require.Equal(t, "sub_payments", c.Subscription)
		delete(want, strings.TrimPrefix(c.Event.ID(), "good-"))
	}
	require.Empty(t, want, "good events that were held up")
	for _, m := range h.dead(len(cases)) {
		c, ok := cases[m.ID]
		require.True(t, ok, m.ID)
		reason, _ := m.Headers[rabbit.HeaderReason].(string)
		for _, part := range c.reason {
			require.Contains(t, reason, part, m.ID)
		}
		letter := h.listed(contract.DeadEventID(m.RoutingKey, m.ContentType, m.Headers, m.Body))
		require.Equal(t, contract.DeadEvent, letter.Kind, m.ID)
		require.True(t, strings.HasPrefix(reason, letter.Reason), m.ID)
		require.Equal(t, contract.ResourceOf(m.RoutingKey), letter.Resource, m.ID)
		require.Equal(t, c.message.RoutingKey, m.Headers[rabbit.HeaderRoutingKey], m.ID)
		require.Equal(t, c.message.RoutingKey, m.RoutingKey, m.ID)
		require.Equal(t, c.message.ContentType, m.ContentType, m.ID)
		require.Equal(t, c.message.ContentEncoding, m.ContentEncoding, m.ID)
		require.True(t, bytes.Equal(c.message.Body, m.Body), m.ID)
		for header, value := range c.message.Headers {
			if m.ID != "long attributes" { // with the reason they are too long as well
				require.Equal(t, value, m.Headers[header], m.ID)
			}
		}
		delete(cases, m.ID)
	}
	require.Empty(t, cases)
}

// binary is an event in AMQP's binary mode, with JSON as data.
func binary(key, id, eventType string, data []byte) rabbit.Message {
	return rabbit.Message{RoutingKey: key, ContentType: "application/json", Body: data, Headers: map[string]any{
		"cloudEvents_specversion": "1.0", "cloudEvents_id": id, "cloudEvents_source": "/shop", "cloudEvents_type": eventType,
	}}
}

func decode(t *testing.T, messages []rabbit.Message) []contract.Command {
	t.Helper()
	commands := make([]contract.Command, len(messages))
	for i, m := range messages {
		c, err := contract.DecodeCommand(m.ContentType, m.Headers, m.Body)
		require.NoError(t, err)
		require.Equal(t, c.Delivery, m.ID)
		commands[i] = c
	}
	return commands
}

func subscriptions(commands []contract.Command) []string {
	ids := make([]string, len(commands))
	for i, c := range commands {
		ids[i] = c.Subscription
	}
	return ids
}

// never is a context that does not end.
func never() context.Context { return context.Background() }
