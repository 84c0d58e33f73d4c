package rabbit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// reading runs ReadStream in the background until the test ends; what handle takes comes through the channel.
func reading(t testing.TB, c *Conn, from StreamOffset) <-chan StreamMessage {
	t.Helper()
	out := make(chan StreamMessage, 100_000)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.ReadStream(ctx, c.Names().Archive, from, func(_ context.Context, batch []StreamMessage) error {
			for _, m := range batch {
				out <- m
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := receive(t, done); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return out
}

func archive(t testing.TB, c *Conn, n int) {
	t.Helper()
	publish(t, c, each(numbered(n), c.Names().ToArchive)...)
}

func publishEvents(t testing.TB, c *Conn, n int) {
	t.Helper()
	publish(t, c, each(numbered(n), func(m Message) Message { return c.Names().ToEvents("orders.x", m) })...)
}

// What the archive gives back has to be what was put there, or a replay would be of another event.
func TestArchiveKeepsMessagesAsTheyWere(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	messages := map[string]Message{
		"headers": {ContentType: "application/json", ContentEncoding: "identity", Timestamp: time.Unix(1_700_000_000, 0), Body: []byte("{}"), Headers: map[string]any{
			"cloudEvents_id": "1", "cloudEvents:type": "order.created", "cloudEvents_n": int64(7), "cloudEvents_small": int32(-7),
			"cloudEvents_time": time.Unix(1_700_000_000, 0), "cloudEvents_yes": true, "cloudEvents_no": false,
			"cloudEvents_umlaut": "grüße", "cloudEvents_bytes": []byte{0, 255}, "cloudEvents_empty": "", "traceparent": "00-1-2-01", "x-own": "kept",
		}},
		"empty":  {},
		"bytes":  {ContentType: "application/octet-stream", Body: []byte{0, 1, 254, 255}},
		"long":   {Headers: map[string]any{"cloudEvents_long": fmt.Sprintf("%0300d", 1)}, Body: make([]byte, 300_000)},
		"most":   {Body: make([]byte, MaxBody)},
		"id 255": {ID: fmt.Sprintf("%0255d", 1)},
	}
	archived := reading(t, c, StreamOffset{First: true})
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			m = c.Names().ToArchive(m)
			publish(t, c, m)
			got := receive(t, archived).Message
			if m.Headers == nil {
				m.Headers = map[string]any{}
			}
			if len(got.Body) == 0 {
				got.Body = nil
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("archived %+v, want %+v", got, m)
			}
		})
	}
}

func TestReadStreamFrom(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	start := time.Now()
	archive(t, c, 20)
	for name, test := range map[string]struct {
		from  StreamOffset
		first int64
	}{
		"the first":      {StreamOffset{First: true}, 0},
		"nothing":        {StreamOffset{}, 0},
		"an offset":      {StreamOffset{Offset: 7}, 7},
		"a time":         {StreamOffset{At: start}, 0},
		"long ago":       {StreamOffset{At: start.Add(-time.Hour)}, 0},
		"the end":        {StreamOffset{Offset: 20}, 20},
		"beyond the end": {StreamOffset{Offset: 1000}, 20},
	} {
		t.Run(name, func(t *testing.T) {
			got := reading(t, c, test.from)
			if test.first == 20 { // it waits for what comes
				test.first = appended(t, c)
			}
			for want := test.first; want < 20; want++ {
				if m := receive(t, got); m.Offset != want || m.ID != fmt.Sprint(want) {
					t.Fatalf("got %d: %+v, want %d", m.Offset, m, want)
				}
			}
			if test.first >= 20 {
				if m := receive(t, got); m.Offset < 20 || m.ID != "late" {
					t.Fatalf("got %d: %+v", m.Offset, m)
				}
			}
		})
	}
}

// appended publishes until the test ends: a reader that begins at the end sees only what comes after it has begun.
func appended(t *testing.T, c *Conn) int64 {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = c.Publisher().Publish(ctx, c.Names().ToArchive(Message{ID: "late"}))
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return 20
}

// The two know nothing of each other on the broker: the listener archives events.
func TestEventsDoNotReachTheArchiveNorTheOtherWayRound(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	publish(t, c, c.Names().ToEvents("orders.x", Message{ID: "event"}), c.Names().ToArchive(Message{ID: "marker", Headers: map[string]any{"x-webhook-marker": "rep_1"}}))
	m := receive(t, reading(t, c, StreamOffset{First: true}))
	if m.ID != "marker" || m.Headers["x-webhook-marker"] != "rep_1" || m.Headers[streamOffset] != nil {
		t.Errorf("got %+v", m)
	}
	if n := depth(t, url, c.Names().Events); n != 1 {
		t.Errorf("%d in the events queue", n)
	}
}

func TestReadStreamEnds(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	archive(t, c, 500)
	broken := errors.New("broken")
	for name, test := range map[string]struct{ given, want error }{
		"stopped": {ErrStopReading, nil},
		"wrapped": {fmt.Errorf("enough: %w", ErrStopReading), nil},
		"failed":  {broken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := c.ReadStream(background(t), c.Names().Archive, StreamOffset{First: true}, func(context.Context, []StreamMessage) error {
				calls++
				return test.given
			})
			if !errors.Is(err, test.want) || calls != 1 {
				t.Errorf("%d calls, got %v", calls, err)
			}
		})
	}
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(background(t))
		err := c.ReadStream(ctx, c.Names().Archive, StreamOffset{First: true}, func(work context.Context, _ []StreamMessage) error {
			cancel()
			<-work.Done()
			return fmt.Errorf("interrupted: %w", work.Err())
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// The connection is cut again and again, also while the handler is busy: every message once, in order.
func TestReadStreamGoesOnAfterALoss(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	archive(t, c, 2000)
	next, cuts := int64(0), 0
	err := c.ReadStream(background(t), c.Names().Archive, StreamOffset{First: true}, func(_ context.Context, batch []StreamMessage) error {
		if next >= int64(cuts)*400 {
			cuts++
			p.cut()
			if cuts%2 == 0 { // the same messages are on their way again before this batch is taken
				eventually(t, "lost", func() bool { return c.Ready(background(t)) != nil })
				eventually(t, "recovered", func() bool { return c.Ready(background(t)) == nil })
			}
		}
		for _, m := range batch {
			if m.Offset != next || m.ID != fmt.Sprint(next) {
				return fmt.Errorf("got %d, want %d", m.Offset, next)
			}
			next++
		}
		if next == 2000 {
			return ErrStopReading
		}
		return nil
	})
	if err != nil || cuts < 3 {
		t.Errorf("%d cuts, %v", cuts, err)
	}
}

// The stream's own leader has to come back, too. RabbitMQ 3.10 forgets how to do that if it is killed within half a second of
// the very first stream's declaration, hence the restart in good order before.
func TestArchiveOutlivesTheBroker(t *testing.T) {
	b := broker(t) // no check for leaks here: the broker's own goroutines change
	c := open(t, b.URL)
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { return c.Ready(background(t)) == nil })
	eventually(t, "the archive is back", func() (back bool) {
		raw(t, b.URL, func(ch *amqp.Channel) {
			_, err := ch.QueueDeclarePassive(c.Names().Archive, true, false, false, false, nil)
			back = err == nil
		})
		return back
	})
	archive(t, c, 100)
	got := reading(t, c, StreamOffset{First: true})
	for want := range int64(100) {
		if m := receive(t, got); m.Offset != want {
			t.Fatalf("got %d, want %d", m.Offset, want)
		}
	}
	b.Kill()
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	eventually(t, "publishing works", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return c.Publisher().Publish(ctx, c.Names().ToArchive(Message{ID: "after"})) == nil
	})
	if m := receive(t, got); m.Offset != 100 || m.ID != "after" {
		t.Errorf("got %d: %s", m.Offset, m.ID)
	}
	t.Logf("archived %v after the broker was back", time.Since(start))
}

// A listener ends while another waits: the order of events holds, and nothing is handled twice.
func TestHandOverKeepsTheOrder(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	first, second := openIn(t, url, ns), openIn(t, url, ns)
	publishEvents(t, first, 50)
	options := ConsumeOptions{Prefetch: 10, MaxBatch: 3, HandOver: true}
	ctx, cancel := context.WithCancel(context.Background())
	held, done := make(chan []*Delivery, 50), make(chan error, 1)
	block, entered := make(chan struct{}), make(chan struct{}, 50)
	go func() {
		done <- first.Consume(ctx, first.Names().Events, options, func(_ context.Context, batch []*Delivery) {
			held <- batch
			entered <- struct{}{}
			<-block
		})
	}()
	receive(t, entered)
	eventually(t, "ten are handed out", func() bool { return depth(t, url, first.Names().Events) == 40 })
	got, stop := collect(t, second, second.Names().Events, options)
	eventually(t, "the second waits", func() bool { return second.Ready(background(t)) == nil && consumers(second) == 1 })
	cancel()
	eventually(t, "the first ends", func() bool { return stopping(first) })
	close(block)
	batch := receive(t, held)
	if n := depth(t, url, first.Names().Events); n != 40 || len(got) != 0 {
		t.Errorf("%d went back before what was handed out is settled", n-40)
	}
	AckAll(batch)
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	for want := len(batch); want < 50; want++ {
		d := receive(t, got)
		if d.ID != fmt.Sprint(want) {
			t.Fatalf("got %s, want %d", d.ID, want)
		}
		d.Ack()
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func consumers(c *Conn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.consumers)
}

func stopping(c *Conn) bool {
	c.mu.Lock()
	links := maps.Clone(c.consumers)
	c.mu.Unlock()
	for k := range links {
		if !k.isStopped() {
			return false
		}
	}
	return true
}

// The active consumer's connection breaks: the next one goes on in the same order.
func TestEventsKeepTheirOrderWhenAListenerIsLost(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	p := newProxy(t, url)
	first, second := openIn(t, p.URL, ns), openIn(t, url, ns)
	publishEvents(t, second, 50)
	var mu sync.Mutex
	var taken []*Delivery
	stopFirst := consuming(t, first, first.Names().Events, ConsumeOptions{Prefetch: 10, HandOver: true}, func(_ context.Context, batch []*Delivery) {
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, batch...)
	})
	eventually(t, "ten are handed out", func() bool { mu.Lock(); defer mu.Unlock(); return len(taken) == 10 })
	got, stopSecond := collect(t, second, second.Names().Events, ConsumeOptions{Prefetch: 10, HandOver: true})
	if taken[0].Lost() {
		t.Error("lost before the connection was")
	}
	p.away(true)
	eventually(t, "the first knows", func() bool { return taken[0].Lost() && taken[9].Lost() })
	AckAll(taken) // does nothing
	for want := range 50 {
		d := receive(t, got)
		if d.ID != fmt.Sprint(want) || d.Redelivered != (want < 10) || d.Lost() {
			t.Fatalf("got %s (redelivered: %v), want %d", d.ID, d.Redelivered, want)
		}
		d.Ack()
	}
	for _, stop := range []func() error{stopFirst, stopSecond} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
