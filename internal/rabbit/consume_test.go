package rabbit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func publish(t testing.TB, c *Conn, messages ...Message) {
	t.Helper()
	if err := c.Publisher().Publish(background(t), messages...); err != nil {
		t.Fatal(err)
	}
}

func TestConsumeInBatches(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(1000), c.Names().ToCommands)...)
	sizes, done, seen := []int{}, make(chan struct{}), 0
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 200, MaxBatch: 50}, func(_ context.Context, batch []*Delivery) {
		for _, d := range batch {
			if d.ID != fmt.Sprint(seen) || d.Redelivered {
				t.Errorf("got %s (redelivered: %v), want %d", d.ID, d.Redelivered, seen)
			}
			seen++
		}
		sizes = append(sizes, len(batch))
		AckAll(batch)
		if seen == 1000 {
			close(done)
		}
	})
	receive(t, done)
	if err := stop(); err != nil {
		t.Error(err)
	}
	largest := 0
	for _, n := range sizes {
		largest = max(largest, n)
	}
	if largest > 50 || len(sizes) > 900 {
		t.Errorf("batches of %v", sizes)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestRequeueIsRedelivered(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(3), c.Names().ToCommands)...)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	first := []*Delivery{receive(t, got), receive(t, got), receive(t, got)}
	first[1].Requeue()
	again := receive(t, got)
	if again.ID != "1" || !again.Redelivered {
		t.Errorf("got %s, redelivered %v", again.ID, again.Redelivered)
	}
	AckAll([]*Delivery{again, first[2], first[0], first[1]}) // the last one has its outcome already
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// One frame for many must not settle what nobody has settled.
func TestAckAllLeavesTheOthersAlone(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(10), c.Names().ToCommands)...)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{Drain: time.Millisecond})
	var ds []*Delivery
	for range 10 {
		ds = append(ds, receive(t, got))
	}
	AckAll([]*Delivery{ds[9], ds[1], ds[0], ds[4], ds[3]}) // 2 and 5 to 8 stay
	ds[7].Requeue()
	if again := receive(t, got); again.ID != "7" {
		t.Errorf("requeued %s", again.ID)
	}
	if err := stop(); !errors.Is(err, ErrDrain) {
		t.Errorf("got %v", err)
	}
	left, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	ids := map[string]bool{}
	for range 5 {
		d := receive(t, left)
		ids[d.ID] = d.Redelivered
		d.Ack()
	}
	for _, id := range []string{"2", "5", "6", "7", "8"} {
		if !ids[id] {
			t.Errorf("%s is missing: %v", id, ids)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestUnsettledComeBackAfterClose(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	c := openIn(t, url, ns)
	publish(t, c, each(numbered(2), c.Names().ToCommands)...)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	first, second := receive(t, got), receive(t, got)
	first.Ack()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := stop(); !errors.Is(err, ErrClosed) {
		t.Errorf("Consume: %v", err)
	}
	second.Ack() // too late, and harmless

	c = openIn(t, url, ns)
	got, _ = collect(t, c, c.Names().Commands, ConsumeOptions{})
	d := receive(t, got)
	if d.ID != second.ID || !d.Redelivered {
		t.Errorf("got %s, redelivered %v", d.ID, d.Redelivered)
	}
	d.Ack()
}

// At its end Consume waits for what is under way and gives back what it hasn't handed out.
func TestDrain(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(20), c.Names().ToCommands)...)
	ctx, cancel := context.WithCancel(context.Background())
	handed, result := make(chan []*Delivery), make(chan error, 1)
	release := make(chan struct{})
	go func() {
		result <- c.Consume(ctx, c.Names().Commands, ConsumeOptions{Prefetch: 10, MaxBatch: 1}, func(work context.Context, batch []*Delivery) {
			handed <- batch
			<-release
			if work.Err() != nil {
				t.Error("the handler's context ended with Consume's")
			}
		})
	}()
	batch := receive(t, handed)
	cancel()
	eventually(t, "the broker has nine back", func() bool { return depth(t, url, c.Names().Commands) >= 10 })
	close(release)
	select {
	case err := <-result:
		t.Fatalf("ended before its delivery was settled: %v", err)
	case more := <-handed:
		t.Fatalf("handed out %v after the end", more)
	default:
	}
	batch[0].Ack()
	if err := receive(t, result); err != nil {
		t.Error(err)
	}
	eventually(t, "the broker has the others back", func() bool { return depth(t, url, c.Names().Commands) == 19 })
}

// With a prefetch of one the next message shows that the broker has learned of the one before.
func TestTheBrokerLearnsSoonOfAckSoon(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(3), c.Names().ToCommands)...)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 1})
	for range 3 {
		AckSoon([]*Delivery{receive(t, got)})
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left: the end did not tell the broker of the last one", n)
	}
}

// What was left goes back, and nobody waits for it.
func TestLeave(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, c.Names().ToEvents("orders.x", Message{ID: "0"}), c.Names().ToEvents("orders.x", Message{ID: "1"}))
	got, stop := collect(t, c, c.Names().Events, ConsumeOptions{Prefetch: 2, HandOver: true, Drain: time.Hour})
	Leave([]*Delivery{receive(t, got), receive(t, got)})
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Events); n != 2 {
		t.Errorf("%d are left, want 2", n)
	}
}

func TestDrainEnds(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, c.Names().ToCommands(Message{ID: "stuck"}))
	work := make(chan context.Context, 1)
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Drain: 20 * time.Millisecond}, func(ctx context.Context, _ []*Delivery) { work <- ctx })
	ctx := receive(t, work)
	if err := stop(); !errors.Is(err, ErrDrain) {
		t.Errorf("got %v", err)
	}
	receive(t, ctx.Done())
	eventually(t, "the broker has it back", func() bool { return depth(t, url, c.Names().Commands) == 1 })
}

// A delayed message comes when it is due, give or take a tenth or 300 ms, by as many hops as that takes. 260 ms is the ladder's
// worst case: the second hop overshoots by most of a step.
func TestDelayIsPrecise(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	late := make(chan lateness, 100)
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{}, func(_ context.Context, batch []*Delivery) {
		for _, d := range batch {
			if due, _ := d.Due(); time.Now().Before(due) {
				// With everything the broker noted on it: it would take that for a loop.
				if err := c.Publisher().Publish(background(t), c.Names().ToDelay(due, time.Now(), d.Message)); err != nil {
					t.Error(err)
				}
			} else {
				late <- lateness{d.ID, time.Since(due)}
			}
			d.Ack()
		}
	})
	const times = 5
	delays := []time.Duration{260 * time.Millisecond, 300 * time.Millisecond, 1200 * time.Millisecond, 5 * time.Second}
	for range times {
		for _, delay := range delays {
			now := time.Now()
			publish(t, c, c.Names().ToDelay(now.Add(delay), now, Message{ID: delay.String()}))
		}
	}
	by := map[string][]time.Duration{}
	for range times * len(delays) {
		l := receive(t, late)
		by[l.delay] = append(by[l.delay], l.by)
	}
	for _, delay := range delays {
		got := by[delay.String()]
		slices.Sort(got)
		t.Logf("due in %v: late by %v", delay, got)
		// The median: others may use the machine too.
		if got[times/2] > max(delay/10, 300*time.Millisecond) {
			t.Errorf("due in %v: late by %v", delay, got)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

type lateness struct {
	delay string
	by    time.Duration
}

func TestDeadQueueHasTheReason(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, c.Names().ToDead("not a CloudEvent", Message{ID: "bad", RoutingKey: "orders.x", Headers: map[string]any{"k": "v"}}))
	got, _ := collect(t, c, c.Names().Dead, ConsumeOptions{})
	d := receive(t, got)
	d.Ack()
	if d.Headers[HeaderReason] != "not a CloudEvent" || d.Headers["k"] != "v" || d.RoutingKey != "orders.x" {
		t.Errorf("got %+v", d.Message)
	}
}

func TestRejectedIsDeadLettered(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, c.Names().ToEvents("orders.x", Message{ID: "rejected", Body: []byte("kept")}))
	events, _ := collect(t, c, c.Names().Events, ConsumeOptions{})
	receive(t, events).Reject()
	got, _ := collect(t, c, c.Names().Dead, ConsumeOptions{})
	d := receive(t, got)
	d.Ack()
	if d.ID != "rejected" || string(d.Body) != "kept" || d.Headers["x-death"] == nil {
		t.Errorf("got %+v", d.Message)
	}
}

func raw(t testing.TB, url string, use func(*amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	use(ch)
}

func TestTwoConsumersShare(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(100), c.Names().ToCommands)...)
	one, _ := collect(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 5})
	two, _ := collect(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 5})
	ids := map[string]bool{}
	for len(ids) < 100 {
		select {
		case d := <-one:
			ids[d.ID] = true
			d.Ack()
		case d := <-two:
			ids[d.ID] = true
			d.Ack()
		case <-time.After(patience):
			t.Fatalf("only %d came", len(ids))
		}
	}
}

// settleAll settles with every delivery in random order while others come; the race detector watches.
func TestSettleFromManyGoroutines(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, each(numbered(500), c.Names().ToCommands)...)
	var mu sync.Mutex
	left, done := map[string]bool{}, make(chan struct{})
	for _, m := range numbered(500) {
		left[m.ID] = true
	}
	settle := func(d *Delivery) {
		if !d.Redelivered && len(d.ID)%2 == 0 {
			d.Requeue()
			return
		}
		d.Ack()
		d.Requeue() // the second outcome doesn't count
		mu.Lock()
		defer mu.Unlock()
		if delete(left, d.ID); len(left) == 0 {
			close(done)
		}
	}
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 64}, func(_ context.Context, batch []*Delivery) {
		for _, d := range batch {
			go settle(d)
		}
	})
	receive(t, done)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}
