// Command demo shows the main job from start to end over a running stack, as the three kinds of people who use it, and
// exits 0 only if every step held.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

func main() {
	env := flag.String("env", cmp.Or(os.Getenv("E2E_ENV_FILE"), ".run/env"), "the env file that make up wrote")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *env); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to release
	}
}

func run(ctx context.Context, env string) error {
	ctx, cancel := context.WithTimeout(ctx, 80*time.Second)
	defer cancel()
	stack, err := world.ReadStack(env)
	if err != nil {
		return err
	}
	s := &story{stack: stack, resource: "demo" + fmt.Sprint(time.Now().UnixMilli())}
	defer s.close()
	var rows []row
	for _, step := range s.steps() {
		fmt.Printf("→ %s\n", step.what)
		started := time.Now()
		saw, err := step.do(ctx)
		rows = append(rows, row{step.what, saw, time.Since(started), err})
		if err != nil {
			fmt.Printf("  ✗ %v\n", err)
			break // each step stands on those before
		}
		fmt.Printf("  ✓ %s\n", saw)
	}
	return report(rows, len(s.steps()))
}

type row struct {
	what, saw string
	took      time.Duration
	err       error
}

func report(rows []row, want int) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "\nSTEP\tRESULT\tTIME\tSEEN")
	failed := errors.New("not every step was reached")
	if len(rows) == want {
		failed = nil
	}
	for _, r := range rows {
		result, saw := "ok", r.saw
		if r.err != nil {
			result, saw, failed = "FAILED", r.err.Error(), r.err
		}
		fmt.Fprintf(table, "%s\t%s\t%d ms\t%s\n", r.what, result, r.took.Milliseconds(), saw)
	}
	return errors.Join(failed, table.Flush())
}

// story is what the steps share.
type story struct {
	stack    world.Stack
	resource string
	consumer world.Client
	receiver *world.Receiver
	producer *world.Producer
	id       string
	secret   string
}

type step struct {
	what string
	do   func(context.Context) (string, error)
}

func (s *story) steps() []step {
	return []step{
		{"admin: a resource, a consumer with a grant, an API key", s.administer},
		{"consumer: subscribe through the gateway", s.subscribe},
		{"consumer: the same again gives the same subscription", s.subscribeAgain},
		{"strangers: no key, a forged identity, another's resource", s.refuse},
		{"producer: an event on RabbitMQ becomes a signed callback", s.deliver},
		{"an endpoint that fails twice is called a third time", s.retry},
		{"consumer: sees the delivery with its attempts", s.inspect},
		{"producer: what is no CloudEvent is kept, with the reason", s.deadLetter},
		{"consumer: unsubscribed, no callback comes any more", s.unsubscribe},
	}
}

func (s *story) close() {
	if s.receiver != nil {
		_ = s.receiver.Close()
	}
	if s.producer != nil {
		_ = s.producer.Close()
	}
}

func (s *story) administer(ctx context.Context) (string, error) {
	if err := s.stack.NewResource(ctx, s.resource); err != nil {
		return "", err
	}
	var err error
	s.consumer, err = s.stack.NewConsumer(ctx, "acme", world.Grant{Resource: s.resource, Actions: []string{"subscribe"}})
	return "resource " + s.resource + ", consumer acme", err
}

func (s *story) subscribe(ctx context.Context) (string, error) {
	var err error
	// The second event's endpoint fails twice: see retry.
	s.receiver, err = world.NewReceiver(func(n int, _ world.Callback) int {
		if n == 2 || n == 3 {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	if err != nil {
		return "", err
	}
	made, err := s.consumer.Want(ctx, http.StatusCreated, http.MethodPost, s.path(), s.wish())
	s.id, s.secret = made.Field("id"), made.Field("secret")
	return fmt.Sprintf("201, id %s, secret %.10s…", s.id, s.secret), err
}

func (s *story) path() string { return "/" + s.resource + "/subscribe" }

func (s *story) wish() map[string]any {
	return map[string]any{"callback_url": s.receiver.URL, "types": []string{"order.*"}}
}

func (s *story) subscribeAgain(ctx context.Context) (string, error) {
	again, err := s.consumer.Want(ctx, http.StatusOK, http.MethodPost, s.path(), s.wish())
	if err == nil && again.Field("id") != s.id {
		err = fmt.Errorf("got id %s, want %s", again.Field("id"), s.id)
	}
	return "200, the same id", err
}

func (s *story) refuse(ctx context.Context) (string, error) {
	if _, err := s.stack.Consumer("").Want(ctx, http.StatusUnauthorized, http.MethodGet, s.path(), nil); err != nil {
		return "", err
	}
	forged := s.stack.Consumer("").With("X-Consumer-Username", "acme").With("X-Webhook-Statement", "eyJhbGciOiJub25lIn0.e30.")
	if _, err := forged.Want(ctx, http.StatusUnauthorized, http.MethodGet, s.path(), nil); err != nil {
		return "", err
	}
	other := s.resource + "-other"
	if err := s.stack.NewResource(ctx, other); err != nil {
		return "", err
	}
	_, err := s.consumer.Want(ctx, http.StatusForbidden, http.MethodPost, "/"+other+"/subscribe", s.wish())
	return "401, 401, 403", err
}

func (s *story) event(id string) world.Event {
	return world.Event{Resource: s.resource, ID: id, Type: "order.created", Data: []byte(`{"order": "` + id + `", "total": 12.50}`)}
}

func (s *story) deliver(ctx context.Context) (string, error) {
	var err error
	if s.producer, err = s.stack.NewProducer(ctx); err != nil {
		return "", err
	}
	published := time.Now()
	if err := s.producer.PublishEvents(ctx, s.event("first")); err != nil {
		return "", err
	}
	got, err := s.receiver.WaitFor(ctx, 1)
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(got[0].Body), `{"order": "first", "total": 12.50}`) {
		return "", fmt.Errorf("the data did not arrive as published: %s", got[0].Body)
	}
	return fmt.Sprintf("verified with the Standard Webhooks library, %d ms after the publish", got[0].At.Sub(published).Milliseconds()),
		got[0].Verify(s.secret)
}

func (s *story) retry(ctx context.Context) (string, error) {
	if err := s.producer.PublishEvents(ctx, s.event("second")); err != nil {
		return "", err
	}
	got, err := s.receiver.WaitFor(ctx, 4)
	if err != nil {
		return "", err
	}
	if got[1].ID() != got[2].ID() || got[2].ID() != got[3].ID() {
		return "", errors.New("the attempts have different webhook-ids")
	}
	return fmt.Sprintf("500, 500, 204 under one webhook-id, within %.1f s", got[3].At.Sub(got[1].At).Seconds()), got[3].Verify(s.secret)
}

func (s *story) inspect(ctx context.Context) (string, error) {
	id := s.receiver.Callbacks()[3].ID()
	for {
		answer, err := s.consumer.Do(ctx, http.MethodGet, s.path()+"/"+s.id+"/deliveries/"+id, nil)
		if err != nil {
			return "", err
		}
		var d struct {
			Status   string            `json:"status"`
			Attempts []json.RawMessage `json:"attempts"`
		}
		if answer.Status == http.StatusOK {
			if err := answer.Decode(&d); err != nil {
				return "", err
			}
		}
		if d.Status == "succeeded" && len(d.Attempts) == 3 {
			return "succeeded after 3 attempts", nil
		}
		if err := pause(ctx); err != nil { // the record follows the callback by a moment
			return "", fmt.Errorf("the delivery does not get to 3 attempts: %d %s: %w", answer.Status, answer.Body, err)
		}
	}
}

func (s *story) deadLetter(ctx context.Context) (string, error) {
	bad := s.producer.Message(s.event("bad"))
	delete(bad.Headers, "cloudEvents_source")
	if err := s.producer.Publish(ctx, bad); err != nil {
		return "", err
	}
	letter, err := s.producer.DeadLetter(ctx, func(m rabbit.Message) bool { return strings.HasPrefix(m.RoutingKey, s.resource+".") })
	reason, _ := letter.Headers["x-webhook-reason"].(string)
	return "webhook.dead: " + reason, err
}

// unsubscribe shows an absence: another subscription gets a later event, the ended one does not.
func (s *story) unsubscribe(ctx context.Context) (string, error) {
	if _, err := s.consumer.Want(ctx, http.StatusNoContent, http.MethodDelete, s.path()+"/"+s.id, nil); err != nil {
		return "", err
	}
	witness, err := world.NewReceiver(nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = witness.Close() }()
	wish := map[string]any{"callback_url": witness.URL}
	if _, err := s.consumer.Want(ctx, http.StatusCreated, http.MethodPost, s.path(), wish); err != nil {
		return "", err
	}
	if err := s.producer.PublishEvents(ctx, s.event("third"), s.event("fourth")); err != nil {
		return "", err
	}
	if _, err := witness.WaitFor(ctx, 2); err != nil {
		return "", err
	}
	if n := len(s.receiver.Callbacks()); n != 4 {
		return "", fmt.Errorf("the ended subscription got %d callbacks, want 4", n)
	}
	return "2 more events, 0 more callbacks", nil
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(50 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
