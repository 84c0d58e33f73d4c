// Command publish is a producer to try things with: it publishes one CloudEvent on RabbitMQ, in the binary mode, and waits
// for the broker's confirm.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

func main() {
	amqp := flag.String("amqp", os.Getenv("AMQP_URL"), "the broker's URL; $AMQP_URL unless given")
	event := world.Event{}
	flag.StringVar(&event.Resource, "resource", "", "the resource, e.g. orders")
	flag.StringVar(&event.Type, "type", "", "the event's type, e.g. order.created")
	flag.StringVar(&event.ID, "id", rand.Text(), "the event's id; random unless given")
	flag.StringVar(&event.Source, "source", "/publish", "the event's source")
	flag.StringVar(&event.Subject, "subject", "", "the event's subject")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: publish -resource orders -type order.created '{\"total\": 12.5}'")
		flag.PrintDefaults()
	}
	flag.Parse()
	event.Data = []byte(flag.Arg(0))
	if err := run(*amqp, event); err != nil {
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	}
}

func run(amqp string, event world.Event) error {
	if amqp == "" || event.Resource == "" || event.Type == "" {
		return errors.New("-amqp (or $AMQP_URL), -resource and -type are needed: see -h")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	producer, err := world.Stack{AMQPURL: amqp}.NewProducer(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = producer.Close() }()
	if err := producer.PublishEvents(ctx, event); err != nil {
		return err
	}
	fmt.Printf("published %s, id %s: the broker has it\n", event.Type, event.ID)
	return nil
}
