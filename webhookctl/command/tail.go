package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/tmaxmax/go-sse"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

// live is one attempt as it is told while it happens.
type live struct {
	Delivery contract.Delivery `json:"delivery"`
	Attempt  contract.Attempt  `json:"attempt"`
}

func (a *app) deliveriesTail() *cobra.Command {
	var chosen filters
	cmd := &cobra.Command{
		Use: "tail " + subscriptionUse, Short: "Show attempts as they are made, until Ctrl-C", ValidArgsFunction: a.completeOwn(),
		Example: "  webhookctl deliveries tail orders sub_… --status failed",
		RunE: a.onGateway(func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			t := &tail{gateway: gateway, sub: sub, chosen: chosen, show: a.showAttempt, note: func(text string) { _, _ = fmt.Fprintln(a.Err, text) }}
			return unlessOver(cmd.Context(), t.run(cmd.Context()))
		}),
	}
	cmd.Flags().StringVar(&chosen.status, "status", "", "of deliveries that are then pending, succeeded, failed or canceled")
	cmd.Flags().StringVar(&chosen.eventType, "type", "", "of events of this type")
	cmd.Flags().StringVar(&chosen.event, "event-id", "", "of the event with this id")
	return cmd
}

// unlessOver drops the error of what goes on until somebody ends it.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func (a *app) showAttempt(l live) {
	if !a.print.Human() {
		_ = a.print.Line(l) // a reader that is gone ends the process by itself
		return
	}
	text := ""
	if l.Attempt.Error != "" {
		text = "  " + output.OneLine(l.Attempt.Error, 120)
	}
	a.print.Say("%s  %s  #%d  %s  %s  %d ms  %s %s%s", output.Time(l.Attempt.At), l.Delivery.ID, l.Attempt.Number, a.print.HTTPStatus(l.Attempt.Status),
		a.outcome(l.Attempt), l.Attempt.DurationMS, output.OneLine(l.Delivery.EventType, 60), a.print.Status(string(l.Delivery.Status)), text)
}

// tail follows a subscription's attempts.
type tail struct {
	gateway *client.Client
	sub     own
	chosen  filters
	show    func(live)
	note    func(string)
	last    string // event of the stream, after which the next one goes on

	since time.Time // of polling: what was made before is not shown
	shown []string  // attempts of the last polls
}

// run follows the live stream, and where the service has none asks again and again. A stream that ends is begun anew.
func (t *tail) run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := t.stream(ctx)
		switch code := exit.Of(err); {
		case code == exit.NotFound && !t.exists(ctx):
			return err
		case code == exit.NotFound:
			t.note("this service has no live stream: asking every second instead")
			return t.poll(ctx)
		case code == exit.Refused || code == exit.Invalid:
			return err
		}
		if failures++; time.Since(began) > 10*time.Second {
			failures = 1
		}
		service.Backoff(ctx, failures)
	}
	return nil
}

// exists tells a service without a stream from a subscription that is not there.
func (t *tail) exists(ctx context.Context) bool {
	_, err := t.gateway.Get(ctx, t.sub.path(), nil)
	return err == nil
}

func (t *tail) stream(ctx context.Context) error {
	header := http.Header{"Accept": {"text/event-stream"}}
	if t.last != "" {
		header.Set("Last-Event-ID", t.last)
	}
	resp, err := t.gateway.Stream(ctx, client.Request{Method: http.MethodGet, Path: t.sub.path("deliveries", "live"), Header: header})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	for event, err := range sse.Read(resp.Body, &sse.ReadConfig{MaxEventSize: 4 << 20}) {
		if err != nil {
			return fmt.Errorf("reading the stream: %w", err)
		}
		if event.LastEventID != "" {
			t.last = event.LastEventID
		}
		var l live
		if event.Type == "attempt" && json.Unmarshal([]byte(event.Data), &l) == nil && t.wanted(l) {
			t.show(l)
		}
	}
	return nil
}

func (t *tail) wanted(l live) bool {
	return (t.chosen.status == "" || t.chosen.status == string(l.Delivery.Status)) && (t.chosen.eventType == "" || t.chosen.eventType == l.Delivery.EventType) &&
		(t.chosen.event == "" || t.chosen.event == l.Delivery.EventID)
}

// pollPage is how many deliveries are looked at in a poll.
const pollPage = "50"

// poll looks at the newest deliveries, and shows attempts that were not there before.
func (t *tail) poll(ctx context.Context) error {
	t.since = time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := t.look(ctx); err != nil && exit.Of(err) != exit.Unavailable {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (t *tail) look(ctx context.Context) error {
	answer, err := t.gateway.Get(ctx, t.sub.path("deliveries"), url.Values{"limit": {pollPage}})
	if err != nil {
		return err
	}
	var page struct{ Items []contract.Delivery }
	if err := answer.Decode(&page); err != nil {
		return err
	}
	for _, d := range slices.Backward(page.Items) {
		if d.UpdatedAt.Before(t.since.Add(-time.Minute)) {
			continue
		}
		if err := t.lookAt(ctx, d.ID); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) lookAt(ctx context.Context, id string) error {
	answer, err := t.gateway.Get(ctx, t.sub.path("deliveries", id), nil)
	if err != nil {
		return err
	}
	var d contract.Delivery
	if err := answer.Decode(&d); err != nil {
		return err
	}
	for _, attempt := range d.Attempts {
		key := fmt.Sprintf("%s#%d", d.ID, attempt.Number)
		if attempt.At.Before(t.since) || slices.Contains(t.shown, key) {
			continue
		}
		if t.shown = append(t.shown, key); len(t.shown) > 10_000 {
			t.shown = t.shown[1:]
		}
		if l := (live{d, attempt}); t.wanted(l) {
			t.show(l)
		}
	}
	return nil
}
