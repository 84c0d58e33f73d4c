package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// bench is a stack with its consumers, and what was found so far.
type bench struct {
	settings
	stack    world.Stack
	key      []byte // of the callback service's statements
	receiver *receiverClient
	producer *world.Producer
	queue    *rabbit.Conn // of the bare pipeline
	consumer world.Client
	grants   []string // resources of the healthy subscriptions
	subs     []subscription
	report   *report

	roundsRun, typesUsed int // for names

	perSecond  float64 // found by a, used by b and c
	filesLimit int     // found by d
}

// subscription with what makes an event reach it and no other.
type subscription struct{ id, resource, eventType, endpoint string }

func newBench(ctx context.Context, s settings) (*bench, error) {
	b := &bench{settings: s, report: newReport()}
	if err := b.connect(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) connect(ctx context.Context) (err error) {
	if b.stack, err = world.ReadStack(filepath.Join(b.runDir, "env")); err != nil {
		return err
	}
	if b.key, err = secret(b.runDir, "WEBHOOK_CALLBACK_KEY"); err != nil {
		return err
	}
	if b.receiver, err = startReceiver(b.subscriptions + b.hangingSubs); err != nil {
		return err
	}
	if err := b.connectBroker(ctx); err != nil {
		return err
	}
	return b.subscribe(ctx)
}

func (b *bench) connectBroker(ctx context.Context) (err error) {
	if b.producer, err = b.stack.NewProducer(ctx); err != nil {
		return err
	}
	b.queue, err = rabbit.Open(ctx, b.stack.AMQPURL, rabbit.Options{Namespace: bareNamespace, Name: "bench", Log: zap.NewNop()})
	return err
}

func (b *bench) disconnect() error {
	var errs []error
	if b.queue != nil {
		errs = append(errs, b.queue.Close())
	}
	if b.producer != nil {
		errs = append(errs, b.producer.Close())
	}
	b.queue, b.producer = nil, nil
	return errors.Join(errs...)
}

func (b *bench) close() error {
	err := b.disconnect()
	if b.receiver != nil {
		err = errors.Join(err, b.receiver.stop())
	}
	return err
}

// secret reads one of the stack's keys.
func secret(runDir, name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(runDir, "secrets.env")) // #nosec G304 -- the run's own folder
	if err != nil {
		return nil, fmt.Errorf("reading the stack's keys: %w", err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+"="); ok {
			return []byte(value), nil
		}
	}
	return nil, fmt.Errorf("the stack's keys lack %s", name)
}

// subscribe makes the resources, the consumer and its subscriptions.
func (b *bench) subscribe(ctx context.Context) (err error) {
	run := strings.ToLower(rand.Text()[:8])
	var grants []world.Grant
	for i := range b.resources {
		resource := fmt.Sprintf("bench-%s-%d", run, i)
		if err := b.newResource(ctx, resource); err != nil {
			return err
		}
		b.grants = append(b.grants, resource)
		grants = append(grants, world.Grant{Resource: resource, Actions: []string{"subscribe"}})
	}
	if b.consumer, err = b.stack.NewConsumer(ctx, "bench-"+run, grants...); err != nil {
		return err
	}
	wish := map[string]any{}
	if b.maxInFlight > 0 {
		wish["max_in_flight"] = b.maxInFlight
	}
	b.typesUsed = b.subscriptions
	for i := range b.subscriptions {
		sub, err := b.newSubscription(ctx, i, b.receiver.Endpoints[i]+"/hooks", wish)
		if err != nil {
			return err
		}
		b.subs = append(b.subs, sub)
	}
	return nil
}

// newResource makes a resource with a type for each of its subscriptions.
func (b *bench) newResource(ctx context.Context, name string) error {
	_, err := b.stack.Admin().Want(ctx, http.StatusCreated, http.MethodPut, "/admin/v1/resources/"+name,
		map[string]any{"types": []map[string]string{{"name": "bench.event"}}})
	return err
}

// newSubscription makes the i-th one: the only one of its resource to its type.
func (b *bench) newSubscription(ctx context.Context, i int, endpoint string, more map[string]any) (subscription, error) {
	sub := subscription{resource: b.grants[i%len(b.grants)], eventType: "bench.n" + strconv.Itoa(i), endpoint: endpoint}
	wish := map[string]any{"callback_url": endpoint, "types": []string{sub.eventType}}
	maps.Copy(wish, more)
	answer, err := b.consumer.Want(ctx, http.StatusCreated, http.MethodPost, "/"+sub.resource+"/subscribe", wish)
	sub.id = answer.Field("id")
	return sub, err
}

func (b *bench) unsubscribe(ctx context.Context, sub subscription) error {
	_, err := b.consumer.Want(ctx, http.StatusNoContent, http.MethodDelete, "/"+sub.resource+"/subscribe/"+sub.id, nil)
	return err
}

// newRound names a round: no event of one is taken for one of another.
func (b *bench) newRound() string {
	b.roundsRun++
	return fmt.Sprintf("%s-%d", b.grants[0], b.roundsRun)
}

// padding brings an event's data to about 250 bytes.
const padding = `,"order":"2c9f7d3e-51aa-4b8e-9a52-6f0f2a7ce001","customer":"acme","total":1204.5,"currency":"EUR",` +
	`"lines":[{"sku":"A-1","count":2},{"sku":"B-7","count":1}],"note":"a payload as they come, neither small nor large"}`

// event is the n-th of a round, stamped now.
func (b *bench) event(round string, n int, sub subscription) world.Event {
	data := appendStamp(make([]byte, 0, 300), stamp{n, time.Now().UnixNano()})
	return world.Event{
		Resource: sub.resource, Type: sub.eventType, ID: round + "-" + strconv.Itoa(n), Data: append(data, padding...),
	}
}

// toEvents is the n-th event of a round as a producer publishes it.
func (b *bench) toEvents(round string, n int) rabbit.Message {
	return b.producer.Message(b.event(round, n, b.subs[n%len(b.subs)]))
}

// toCommands is the same as the command that the event listener would make of it.
func (b *bench) toCommands(round string, n int) (rabbit.Message, error) {
	sub := b.subs[n%len(b.subs)]
	m := b.producer.Message(b.event(round, n, sub))
	parsed, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
	if err != nil {
		return m, err
	}
	command := contract.NewCommand(parsed, sub.id, sub.resource, time.Now())
	return rabbit.NamesFor("").ToCommands(rabbit.CommandMessage(command)), nil
}

// toBare is the same for the bare pipeline's queue.
func (b *bench) toBare(round string, n int) rabbit.Message {
	return b.queue.Names().ToCommands(b.toEvents(round, n))
}
