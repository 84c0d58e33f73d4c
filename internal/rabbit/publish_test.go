package rabbit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPublishIsConfirmed(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	sent := Message{
		ID: "id-1", ContentType: "application/json", ContentEncoding: "identity",
		Timestamp: time.Unix(1_700_000_000, 0),
		Headers: map[string]any{
			"text": "grüße", "number": int64(7), "nested": map[string]any{"list": []any{"a", true}},
			"x-death": []any{map[string]any{"queue": "forged"}}, "CC": []any{"elsewhere"},
		},
		Body: []byte("{}"),
	}
	if err := c.Publisher().Publish(background(t), c.Names().ToEvents("orders.order.created", sent)); err != nil {
		t.Fatal(err)
	}
	got, _ := collect(t, c, c.Names().Events, ConsumeOptions{})
	d := receive(t, got)
	d.Ack()
	if d.ID != sent.ID || d.ContentType != sent.ContentType || d.ContentEncoding != sent.ContentEncoding ||
		string(d.Body) != "{}" || !d.Timestamp.Equal(sent.Timestamp) || d.Redelivered ||
		d.Exchange != c.Names().Events || d.RoutingKey != "orders.order.created" {
		t.Errorf("got %+v", d.Message)
	}
	want := `map[nested:map[list:[a true]] number:7 text:grüße]`
	if s := fmt.Sprint(d.Headers); s != want {
		t.Errorf("headers %s, want %s", s, want)
	}
}

func TestPublishUnroutable(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	p := c.Publisher()
	batch := each(numbered(600), c.Names().ToCommands)
	batch[300].RoutingKey = "nowhere"
	err := p.Publish(background(t), batch...)
	var returned *ReturnedError
	if !errors.As(err, &returned) || returned.Exchange != c.Names().Commands || returned.RoutingKey != "nowhere" {
		t.Fatalf("got %v", err)
	}
	for range 2 * lanes { // every channel is still usable
		if err := p.Publish(background(t), c.Names().ToCommands(Message{ID: "next"})); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPublishAllUnroutable(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	err := c.Publisher().Publish(background(t), each(numbered(1000), func(m Message) Message {
		m.Exchange, m.RoutingKey = c.Names().Commands, "nowhere"
		return m
	})...)
	var returned *ReturnedError
	if !errors.As(err, &returned) || len(err.Error()) > 1000 {
		t.Fatalf("got %v", err)
	}
}

// A missing exchange makes the broker close the channel, not return the message.
func TestPublishToMissingExchange(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	p := c.Publisher()
	err := p.Publish(background(t), Message{Exchange: "nosuch", RoutingKey: "k"})
	if err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Fatalf("got %v", err)
	}
	eventually(t, "publishing works again", func() bool {
		return p.Publish(background(t), c.Names().ToCommands(Message{})) == nil
	})
}

func TestPublishManyAtOnce(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	const publishers, batches, size = 12, 4, 50
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for range batches {
				if err := c.Publisher().Publish(background(t), each(numbered(size), c.Names().ToCommands)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all are there", func() bool {
		return depth(t, url, c.Names().Commands) == publishers*batches*size
	})
}

func TestPublishRefusesWhatTheBrokerWould(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	long := strings.Repeat("x", 256)
	tests := map[string]struct {
		message Message
		want    string
	}{
		"body":        {Message{Body: make([]byte, MaxBody+1)}, "body"},
		"headers":     {Message{Headers: map[string]any{"h": strings.Repeat("x", MaxHeaders)}}, "headers"},
		"deep header": {Message{Headers: map[string]any{"h": []any{map[string]any{long: 1}}}}, "header name"},
		"id":          {Message{ID: long}, "message id"},
		"key":         {Message{RoutingKey: long}, "routing key"},
		"type":        {Message{ContentType: long}, "content type"},
		"value":       {Message{Headers: map[string]any{"h": struct{}{}}}, "struct"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := test.message
			m.Exchange = c.Names().Events
			err := c.Publisher().Publish(background(t), m)
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 1000 {
				t.Errorf("got %v", err)
			}
			if err := c.Ready(background(t)); err != nil {
				t.Errorf("the connection suffered: %v", err)
			}
		})
	}
	if err := c.Publisher().Publish(background(t), c.Names().ToEvents("k", Message{
		Body: make([]byte, MaxBody), Headers: map[string]any{"h": strings.Repeat("x", MaxHeaders-100)},
	})); err != nil {
		t.Errorf("the largest message: %v", err)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	p.mute(true) // the confirms won't come
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := c.Publisher().Publish(ctx, c.Names().ToCommands(Message{})); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	p.mute(false)
	for range 2 * lanes {
		if err := c.Publisher().Publish(background(t), c.Names().ToCommands(Message{})); err != nil {
			t.Fatal(err)
		}
	}
}

// The library leaves confirms open until it has recovered: here it never does.
func TestPublishFailsWhenTheConnectionDrops(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	p.mute(true)
	failed := make(chan error, 1)
	go func() {
		failed <- c.Publisher().Publish(context.Background(), each(numbered(10), c.Names().ToCommands)...)
	}()
	eventually(t, "the broker has them", func() bool { return depth(t, url, c.Names().Commands) == 10 })
	p.away(true)
	if err := receive(t, failed); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	if err := c.Ready(background(t)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("ready while away: %v", err)
	}
	if err := c.Publisher().Publish(background(t), c.Names().ToCommands(Message{})); !errors.Is(err, ErrUnavailable) {
		t.Errorf("publish while away: %v", err)
	}
	p.mute(false)
	p.away(false)
	eventually(t, "ready again", func() bool { return c.Ready(background(t)) == nil })
	for range 2 * lanes {
		if err := c.Publisher().Publish(background(t), c.Names().ToCommands(Message{})); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseWhileAway(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	got, stop := collect(t, c, c.Names().Events, ConsumeOptions{})
	if err := c.Publisher().Publish(background(t), c.Names().ToEvents("k", Message{})); err != nil {
		t.Fatal(err)
	}
	d := receive(t, got)
	p.away(true)
	eventually(t, "both connections are lost", func() bool { return !c.link.isUp() && !d.session.alive() })
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Publisher().Publish(background(t), c.Names().ToCommands(Message{})); !errors.Is(err, ErrClosed) {
		t.Errorf("publish after close: %v", err)
	}
	if err := stop(); !errors.Is(err, ErrClosed) {
		t.Errorf("consume after close: %v", err)
	}
}
