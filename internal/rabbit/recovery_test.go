package rabbit

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// The broker goes away in the middle of publishing and consuming, in order or by a crash, and comes
// back: nothing is lost, and both go on by themselves.
func TestBrokerRestart(t *testing.T) {
	b := broker(t) // no check for leaks here: the broker's own goroutines change
	for _, test := range []struct {
		name string
		down func()
	}{
		// RabbitMQ 3.10 that is killed right after its very first stream was declared does not bring it back. Stopped in good
		// order before, it has written down what it knows.
		{"stopped", b.Stop},
		{"killed", b.Kill},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := open(t, b.URL)
			const total, size = 1000, 10
			var mu sync.Mutex
			seen, stale := map[string]bool{}, []*Delivery{}
			half, all := make(chan struct{}), make(chan struct{})
			stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 50}, func(_ context.Context, batch []*Delivery) {
				mu.Lock()
				defer mu.Unlock()
				if len(stale) < 20 && len(seen) > 50 && len(seen) < total/2 {
					stale = append(stale, batch...) // held until they are stale
					return
				}
				before := len(seen)
				for _, d := range batch {
					seen[d.ID] = true
				}
				AckAll(batch)
				if before < 300 && len(seen) >= 300 {
					close(half)
				}
				if before < total && len(seen) == total {
					close(all)
				}
			})
			failures := 0
			published := make(chan struct{})
			go func() {
				defer close(published)
				messages := each(numbered(total), c.Names().ToCommands)
				for i := 0; i < total; i += size {
					for c.Publisher().Publish(context.Background(), messages[i:i+size]...) != nil {
						failures++
						waitReady(t, c)
					}
				}
			}()
			receive(t, half)
			test.down()
			if err := c.Ready(background(t)); err == nil {
				eventually(t, "not ready", func() bool { return c.Ready(background(t)) != nil })
			}
			mu.Lock()
			AckAll(stale[:len(stale)/2]) // no connection
			mu.Unlock()
			start := time.Now()
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			booted := time.Since(start)
			eventually(t, "ready", func() bool { return c.Ready(background(t)) == nil })
			t.Logf("broker up after %v, ready after %v", booted, time.Since(start))
			mu.Lock()
			AckAll(stale[len(stale)/2:]) // another connection
			mu.Unlock()
			receive(t, published)
			receive(t, all)
			if err := stop(); err != nil {
				t.Error(err)
			}
			if n := depth(t, b.URL, c.Names().Commands); n != 0 {
				t.Errorf("%d are left", n)
			}
			t.Logf("%d publishes failed", failures)
		})
	}
}

func waitReady(t testing.TB, c *Conn) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for c.Ready(context.Background()) != nil && time.Now().Before(deadline) {
		<-tick.C
	}
}

// Deliveries of a lost connection must neither reach the handler as if they were new, nor settle the
// new connection's messages, which have the same delivery tags.
func TestStaleOutcomesAreNotSent(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	publish(t, c, each(numbered(5), c.Names().ToCommands)...)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	old := make([]*Delivery, 5)
	for i := range old {
		old[i] = receive(t, got)
	}
	p.cut()
	fresh := make([]*Delivery, 5)
	for i := range fresh {
		fresh[i] = receive(t, got)
		if !fresh[i].Redelivered || fresh[i].tag != old[i].tag {
			t.Errorf("got %s with tag %d", fresh[i].ID, fresh[i].tag)
		}
	}
	AckAll(old[:3])
	old[3].Requeue()
	old[4].Ack()
	// Had one of them been sent, these would be unknown to the broker, and it would close the channel.
	AckAll(fresh)
	eventually(t, "publishing works", func() bool {
		return c.Publisher().Publish(background(t), c.Names().ToCommands(Message{ID: "on the same session"})) == nil
	})
	d := receive(t, got)
	if d.session != fresh[0].session {
		t.Error("the broker closed the channel")
	}
	d.Ack()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// The handler is busy while the connection is lost and recovered: what the library and Consume have
// buffered meanwhile is delivered again, so handing it out would only be work done twice.
func TestBufferedDeliveriesOfALostConnection(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	publish(t, c, each(numbered(20), c.Names().ToCommands)...)
	entered, release := make(chan struct{}, 100), make(chan struct{})
	var mu sync.Mutex
	times := map[string]int{}
	done := make(chan struct{})
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 20, MaxBatch: 1}, func(_ context.Context, batch []*Delivery) {
		entered <- struct{}{}
		<-release
		batch[0].Ack()
		mu.Lock()
		defer mu.Unlock()
		times[batch[0].ID]++
		if len(times) == 20 && batch[0].ID == "19" {
			close(done)
		}
	})
	receive(t, entered)
	for range 3 {
		p.cut()
		eventually(t, "not ready", func() bool { return c.Ready(background(t)) != nil })
		eventually(t, "ready", func() bool { return c.Ready(background(t)) == nil })
	}
	close(release)
	receive(t, done)
	if err := stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range times {
		if n > 1 && id != "0" {
			t.Errorf("%s was handled %d times", id, n)
		}
	}
	if n := depth(t, url, c.Names().Commands); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// The connection breaks again while the library reopens the channels. Its own retry count would
// keep it in there for ever.
func TestLossDuringRecovery(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	got, _ := collect(t, c, c.Names().Commands, ConsumeOptions{})
	publish(t, c, c.Names().ToCommands(Message{ID: "before"}))
	receive(t, got).Ack()

	// channel.open is method 20,10: a method frame whose payload starts with 0,20,0,10.
	open, breaks := []byte{0, 20, 0, 10}, 4
	var mu sync.Mutex
	broke := make(chan struct{})
	p.watch(func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		if !bytes.Contains(b, open) || breaks == 0 {
			return
		}
		if breaks--; breaks == 0 {
			close(broke)
		}
		p.cut()
	})
	p.cut()
	receive(t, broke)
	eventually(t, "publishing works", func() bool {
		return c.Publisher().Publish(background(t), c.Names().ToCommands(Message{ID: "after"})) == nil
	})
	for d := receive(t, got); ; d = receive(t, got) {
		d.Ack() // the first one's may not have got through
		if d.ID == "after" {
			return
		}
	}
}

// An operator deletes the queue: the broker cancels the consumer, and nobody else would notice.
func TestDeletedQueueComesBack(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	got, _ := collect(t, c, c.Names().Commands, ConsumeOptions{})
	publish(t, c, c.Names().ToCommands(Message{ID: "before"}))
	d := receive(t, got)
	raw(t, url, func(ch *amqp.Channel) {
		if _, err := ch.QueueDelete(c.Names().Commands, false, false, false); err != nil {
			t.Fatal(err)
		}
	})
	d.Ack()
	eventually(t, "publishing works", func() bool {
		return c.Publisher().Publish(background(t), c.Names().ToCommands(Message{ID: "after"})) == nil
	})
	d = receive(t, got)
	if d.ID != "after" {
		t.Errorf("got %s", d.ID)
	}
	d.Ack()
}

// A channel the broker closes, here for an outcome it doesn't know, comes back with its consumer.
func TestClosedChannelComesBack(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	got, _ := collect(t, c, c.Names().Commands, ConsumeOptions{})
	publish(t, c, c.Names().ToCommands(Message{ID: "x"}))
	first := receive(t, got)
	if err := first.session.ch.Ack(4711, false); err != nil {
		t.Fatal(err)
	}
	again := receive(t, got)
	first.Ack()
	if again.ID != "x" || !again.Redelivered {
		t.Errorf("got %s", again.ID)
	}
	again.Ack()
}

// Consume may begin, and end, while the broker is away.
func TestConsumeWhileAway(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	p.away(true)
	_, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	eventually(t, "not ready", func() bool { return errors.Is(c.Ready(background(t)), ErrUnavailable) })
	if err := stop(); err != nil {
		t.Error(err)
	}
	got, _ := collect(t, c, c.Names().Commands, ConsumeOptions{})
	p.away(false)
	eventually(t, "published", func() bool {
		return c.Publisher().Publish(background(t), c.Names().ToCommands(Message{})) == nil
	})
	receive(t, got).Ack()
}

// Consume's end while its connection is lost: what the handler holds is still waited for.
func TestDrainWhileAway(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	publish(t, c, c.Names().ToCommands(Message{ID: "held"}))
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	d := receive(t, got)
	p.away(true)
	eventually(t, "lost", func() bool { return !d.session.alive() })
	result := make(chan error, 1)
	go func() { result <- stop() }()
	d.Ack()
	if err := receive(t, result); err != nil {
		t.Error(err)
	}
	p.away(false)
	eventually(t, "the broker has it", func() bool { return depth(t, url, c.Names().Commands) == 1 })
}

// A broker short of memory stops reading from whoever publishes. Consuming has to go on, or nothing
// would ever get less.
func TestBrokerBlocksPublishers(t *testing.T) {
	b := broker(t)
	noLeaks(t)
	c := open(t, b.URL)
	publish(t, c, each(numbered(20), c.Names().ToCommands)...)
	watermark(t, b, "0.00000001")
	t.Cleanup(func() { watermark(t, b, "0.6") })

	var err error
	eventually(t, "publishing is refused", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		err = c.Publisher().Publish(ctx, c.Names().ToCommands(Message{ID: "late"}))
		return errors.Is(err, ErrUnavailable)
	})
	if s := err.Error(); !strings.Contains(s, "blocks publishers") || c.Ready(background(t)) == nil {
		t.Errorf("got %s", s)
	}
	// A message whose Publish failed may be among them.
	ids, all := map[string]bool{}, make(chan struct{})
	stop := consuming(t, c, c.Names().Commands, ConsumeOptions{Prefetch: 5}, func(_ context.Context, batch []*Delivery) {
		AckAll(batch)
		for _, d := range batch {
			if ids[d.ID] = true; d.ID == "19" {
				close(all)
			}
		}
	})
	receive(t, all)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(ids) < 20 {
		t.Errorf("only %d came", len(ids))
	}
	watermark(t, b, "0.6")
	eventually(t, "ready", func() bool { return c.Ready(background(t)) == nil })
	publish(t, c, c.Names().ToCommands(Message{ID: "after"}))
}

func TestCloseWhileBlocked(t *testing.T) {
	b := broker(t)
	noLeaks(t)
	c := open(t, b.URL)
	watermark(t, b, "0.00000001")
	t.Cleanup(func() { watermark(t, b, "0.6") })
	eventually(t, "blocked", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		return errors.Is(c.Publisher().Publish(ctx, c.Names().ToCommands(Message{})), ErrUnavailable)
	})
	start := time.Now()
	if err := c.Close(); err != nil || time.Since(start) > 2*closeTimeout {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func watermark(t testing.TB, b *testkit.Broker, fraction string) {
	t.Helper()
	if err := b.Ctl("set_vm_memory_high_watermark", fraction); err != nil {
		t.Fatal(err)
	}
}

// openOK is the type and the method with which a handshake ends (AMQP 0-9-1, connection.open-ok).
var openOK = []byte{0, 10, 0, 41}

func TestAConnectionThatIsLostRightAfterItsHandshakeIsLetGoOfAtOnce(t *testing.T) {
	p := newProxy(t, broker(t).URL)
	p.endAfter(openOK)
	to, err := endpointOf(p.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l, start := &link{name: t.Name(), log: zap.NewNop(), metrics: NewMetrics()}, time.Now()
		err := l.dial(background(t), to, func(conn *amqp.Connection) error { _, err := conn.Channel(); return err })
		if err == nil || time.Since(start) > closeTimeout {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	}
}
