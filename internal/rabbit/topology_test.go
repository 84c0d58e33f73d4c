package rabbit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestTopologyTwice(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	openIn(t, url, ns)
	openIn(t, url, ns)
}

func TestQueueWithOtherArguments(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	name := NamesFor(ns).Commands
	raw(t, url, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	_, err := Open(background(t), url, Options{Namespace: ns})
	if err == nil || !strings.Contains(err.Error(), `queue "`+name+`"`) || !strings.Contains(err.Error(), "rabbitmqctl delete_queue "+name) {
		t.Errorf("got %v", err)
	}
}

func TestAnArchiveOfOtherArguments(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	name := NamesFor(ns).Archive
	raw(t, url, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := Open(background(t), url, Options{Namespace: ns}); err == nil || !strings.Contains(err.Error(), `queue "`+name+`"`) {
		t.Errorf("got %v", err)
	}
}

// Everything but replays works without the archive, and it comes back with the next connection.
func TestTheArchiveThatIsGoneHoldsNothingUp(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	c := openIn(t, p.URL, namespace(t, url))
	lose := func() {
		raw(t, url, func(ch *amqp.Channel) {
			if _, err := ch.QueueDelete(c.Names().Archive, false, false, false); err != nil {
				t.Fatal(err)
			}
		})
	}
	lose()
	var returned *ReturnedError
	if err := c.Publisher().Publish(background(t), c.Names().ToArchive(Message{})); !errors.As(err, &returned) {
		t.Errorf("got %v", err)
	}
	publish(t, c, c.Names().ToCommands(Message{}))
	p.cut()
	eventually(t, "the archive is back", func() bool {
		return c.Publisher().Publish(background(t), c.Names().ToArchive(Message{})) == nil
	})
}

func TestExchangeOfOtherType(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	ns := namespace(t, url)
	name := NamesFor(ns).Events
	raw(t, url, func(ch *amqp.Channel) {
		if err := ch.ExchangeDeclare(name, "fanout", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := Open(background(t), url, Options{Namespace: ns}); err == nil || !strings.Contains(err.Error(), `exchange "`+name+`"`) {
		t.Errorf("got %v", err)
	}
}

func TestOpenKeepsThePasswordToItself(t *testing.T) {
	for _, url := range []string{"amqp://u:secret word@h/", "amqp://u:secret#x@h:1/", "http://u:secret@h/", "secret", "amqp://u:sec%ret@h:x/"} {
		_, err := Open(context.Background(), url, Options{})
		if err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("got %v", err)
		}
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, "amqp://u:secret@127.0.0.1:1/", Options{})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

// A broker that accepts and says nothing must not hold Open beyond its context.
func TestOpenOnASilentBroker(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	p := newProxy(t, url)
	p.mute(true)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Open(ctx, p.URL, Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}
