package replay

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a worker with its surroundings: fakes, or the real Redis and RabbitMQ.
type harness interface {
	subscribe(sub contract.Subscription)
	change(id string, status contract.Status)
	unsubscribe(id string)
	// archive keeps events as the listener does.
	archive(events ...contract.Archived)
	record(d contract.Delivery)
	// replay asks for a replay and waits until it has ended.
	replay(r contract.Replay) contract.Replay
	// commands waits for n more commands, and fails if there are more.
	commands(n int) []contract.Command
	// job puts a message on the replays queue, and waits until it is done with; dead waits for a dead letter.
	job(m rabbit.Message)
	dead() rabbit.Message
	// ahead is the delivery that has to be done with before this command's turn comes; empty if none.
	ahead(c contract.Command) string
	// limit bounds the commands of a slice.
	limit(commands int)
}

// known is how long ago everything of the suite happened.
const known = time.Hour

func delivery(id, subscription string, status contract.DeliveryStatus, attempts int) contract.Delivery {
	at := time.Now().Add(-known).UTC().Truncate(time.Millisecond)
	return contract.Delivery{
		ID: contract.DeliveryID("/shop", id, subscription), Subscription: subscription, EventID: id, EventSource: "/shop", EventType: "order.created",
		Status: status, CreatedAt: at, UpdatedAt: at, AttemptCount: attempts,
	}
}

// asked is a replay of everything.
func asked(subscription string) contract.Replay {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return contract.Replay{
		ID: contract.NewID("rpl"), Subscription: subscription, Resource: "orders", State: contract.ReplayRunning,
		Since: now.Add(-2 * known), Until: now, CreatedAt: now, UpdatedAt: now,
	}
}

// event is one of long ago, as the listener archives it.
func event(resource, id, eventType string, more ...string) contract.Archived {
	a := contract.Archived{
		Resource: resource, Taken: time.Now().Add(-known).UTC().Truncate(time.Millisecond), ContentType: "application/json", Body: []byte(`{"n":  1.50}`),
		Headers: map[string]any{"cloudEvents_specversion": "1.0", "cloudEvents_id": id, "cloudEvents_source": "/shop", "cloudEvents_type": eventType},
	}
	for i := 0; i < len(more); i += 2 {
		a.Headers["cloudEvents_"+more[i]] = more[i+1]
	}
	return a
}

func takenAt(at time.Time, a contract.Archived) contract.Archived {
	a.Taken = at
	return a
}

// packs are the messages that the listener makes of events, with at most so many in each.
func packs(t *testing.T, names rabbit.Names, most int, events []contract.Archived) []rabbit.Message {
	t.Helper()
	var messages []rabbit.Message
	for part := range slices.Chunk(events, most) {
		body, err := contract.EncodePack(part)
		require.NoError(t, err)
		messages = append(messages, names.ToArchive(rabbit.Message{ContentType: contract.MediaPack, Body: body}))
	}
	return messages
}

func ids(commands []contract.Command) []string {
	ids := []string{}
	for _, c := range commands {
		ids = append(ids, c.Event.ID())
	}
	return ids
}

// behaves is what a worker does, whatever it stands on.
func behaves(t *testing.T, start func(t *testing.T) harness) {
	t.Run("every event that the subscription wants, each as its next attempt", func(t *testing.T) { everything(t, start(t)) })
	t.Run("only what is in the state and the time asked for", func(t *testing.T) { some(t, start(t)) })
	t.Run("what the filter lets through", func(t *testing.T) { filtered(t, start(t)) })
	t.Run("one delivery", func(t *testing.T) { one(t, start(t)) })
	t.Run("ordered deliveries stand in line", func(t *testing.T) { inLine(t, start(t)) })
	t.Run("a long replay goes in slices", func(t *testing.T) { sliced(t, start(t)) })
	t.Run("a subscription that is not active ends its replay", func(t *testing.T) { ends(t, start(t)) })
	t.Run("a job that can't be done", func(t *testing.T) { badJobs(t, start(t)) })
}

func everything(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1", Types: []string{"order.*"}})
	ask := asked("sub_1")
	h.archive(
		event("orders", "new", "order.created", "time", "2020-01-01T00:00:00Z"), event("orders", "done", "order.created"), event("orders", "pending", "order.paid"),
		event("orders", "other type", "invoice.sent"), event("payments", "other resource", "order.created"), event("orders", "new", "order.created"),
		takenAt(ask.Since.Add(-time.Millisecond), event("orders", "early", "order.created")), takenAt(ask.Since, event("orders", "first", "order.created")),
		takenAt(ask.Until, event("orders", "last", "order.created")), takenAt(ask.Until.Add(time.Millisecond), event("orders", "late", "order.created")),
	)
	done := delivery("done", "sub_1", contract.DeliverySucceeded, 2)
	h.record(done)
	h.record(delivery("pending", "sub_1", contract.DeliveryPending, 1))
	r := h.replay(ask)
	require.Equal(t, contract.ReplayDone, r.State)
	require.Empty(t, r.Reason)
	require.EqualValues(t, 10, r.Scanned)
	require.EqualValues(t, 4, r.Sent)
	commands := h.commands(4)
	require.Equal(t, []string{"new", "done", "first", "last"}, ids(commands), "in the archive's order")
	require.Equal(t, 1, commands[0].Attempt)
	require.Equal(t, ask.Since, commands[2].Created, "when the listener took it")
	c := commands[1]
	require.Equal(t, done.ID, c.Delivery, "the same webhook-id")
	require.Equal(t, []int{3, 3}, []int{c.Attempt, c.First}, "the schedule begins anew")
	require.Equal(t, r.ID, c.Replay)
	require.Equal(t, "orders", c.Resource)
	require.WithinDuration(t, done.CreatedAt, c.Created, time.Millisecond)
	require.Equal(t, `{"n":  1.50}`, string(c.Event.DataEncoded), "byte for byte")
	require.False(t, c.Ordered)
}

func filtered(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1", Filter: `id.startsWith("a") && data.n > 1.0`})
	h.archive(event("orders", "a1", "order.created"), event("orders", "b1", "order.created"), event("orders", "a2", "order.paid"))
	r := h.replay(asked("sub_1"))
	require.EqualValues(t, 3, r.Scanned)
	require.Equal(t, []string{"a1", "a2"}, ids(h.commands(2)))

	named := asked("sub_1")
	named.Delivery = contract.DeliveryID("/shop", "b1", "sub_1")
	require.EqualValues(t, 1, h.replay(named).Sent, "what is asked for by name needs no filter")
	require.Equal(t, []string{"b1"}, ids(h.commands(1)))
}

func some(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1"})
	h.archive(event("orders", "failed", "a"), event("orders", "old", "a"), event("orders", "succeeded", "a"), event("orders", "again", "a"), event("orders", "none", "a"))
	old := delivery("old", "sub_1", contract.DeliveryFailed, 10)
	old.CreatedAt = old.CreatedAt.Add(-3 * known)
	again := delivery("again", "sub_1", contract.DeliveryFailed, 10)
	again.UpdatedAt = time.Now().Add(time.Minute) // attempted since the replay was asked for
	for _, d := range []contract.Delivery{old, again, delivery("failed", "sub_1", contract.DeliveryFailed, 10), delivery("succeeded", "sub_1", contract.DeliverySucceeded, 1)} {
		h.record(d)
	}
	r := asked("sub_1")
	r.Status = contract.DeliveryFailed
	r = h.replay(r)
	require.Equal(t, contract.ReplayDone, r.State)
	require.EqualValues(t, 5, r.Scanned)
	commands := h.commands(1)
	require.Equal(t, []string{"failed"}, ids(commands))
	require.Equal(t, 11, commands[0].Attempt)
}

func one(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1"})
	h.archive(event("orders", "a", "a"), event("orders", "b", "a"), event("orders", "c", "a"), event("orders", "pending", "a"))
	ask := func(d contract.Delivery) contract.Replay {
		r := asked("sub_1")
		r.Delivery, r.Since, r.Until = d.ID, d.CreatedAt, d.CreatedAt
		return h.replay(r)
	}
	b := delivery("b", "sub_1", contract.DeliveryFailed, 4)
	h.record(b)
	r := ask(b)
	require.Equal(t, contract.ReplayDone, r.State)
	require.Empty(t, r.Reason)
	require.EqualValues(t, 1, r.Sent)
	c := h.commands(1)[0]
	require.Equal(t, b.ID, c.Delivery)
	require.Equal(t, 5, c.Attempt)

	pending := delivery("pending", "sub_1", contract.DeliveryPending, 4)
	h.record(pending)
	r = ask(pending)
	require.Equal(t, contract.ReplayDone, r.State)
	require.Equal(t, reasonSettled, r.Reason)

	gone := delivery("gone", "sub_1", contract.DeliveryFailed, 4)
	h.record(gone)
	r = ask(gone)
	require.Equal(t, contract.ReplayDone, r.State)
	require.Equal(t, reasonNotFound, r.Reason)
	h.commands(0)
}

func inLine(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1", Ordering: contract.OrderingSubject})
	h.archive(event("orders", "a1", "a", "subject", "a"), event("orders", "b1", "a", "subject", "b"), event("orders", "a2", "a", "subject", "a"))
	h.replay(asked("sub_1"))
	ahead := map[string]string{}
	for _, c := range h.commands(3) {
		require.True(t, c.Ordered)
		ahead[c.Event.ID()] = h.ahead(c)
	}
	require.Equal(t, map[string]string{"a1": "", "a2": contract.DeliveryID("/shop", "a1", "sub_1"), "b1": ""}, ahead)
}

func sliced(t *testing.T, h harness) {
	const n = 50
	h.limit(7)
	h.subscribe(contract.Subscription{ID: "sub_1"})
	var events []contract.Archived
	for i := range n {
		events = append(events, event("orders", fmt.Sprint(i), "a"), event("payments", fmt.Sprint(i), "a"))
	}
	h.archive(events...)
	r := h.replay(asked("sub_1"))
	require.Equal(t, contract.ReplayDone, r.State)
	require.EqualValues(t, n, r.Sent)
	require.EqualValues(t, 2*n, r.Scanned)
	for i, c := range h.commands(n) {
		require.Equal(t, fmt.Sprint(i), c.Event.ID(), "each once, in order")
	}
}

func ends(t *testing.T, h harness) {
	h.subscribe(contract.Subscription{ID: "sub_1"})
	h.archive(event("orders", "a", "a"))
	h.change("sub_1", contract.StatusPaused)
	r := h.replay(asked("sub_1"))
	require.Equal(t, contract.ReplayCanceled, r.State)
	require.Equal(t, "the subscription is paused", r.Reason)
	h.unsubscribe("sub_1")
	r = h.replay(asked("sub_1"))
	require.Equal(t, contract.ReplayCanceled, r.State)
	require.Equal(t, reasonGone, r.Reason)
	h.commands(0)
}

func badJobs(t *testing.T, h harness) {
	h.job(rabbit.Message{Body: []byte(`{"replay":"rpl_gone","subscription":"sub_1"}`)})
	for _, body := range []string{`nonsense`, `{}`, `{"replay":"rpl_1"}`, `[]`, ``} {
		h.job(rabbit.Message{ID: "bad", Body: []byte(body)})
		m := h.dead()
		require.Equal(t, body, string(m.Body))
		require.Contains(t, m.Headers[rabbit.HeaderReason], "replay and subscription")
	}
}

// never is a context that does not end.
func never() context.Context { return context.Background() }
