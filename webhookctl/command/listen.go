package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/listen"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

// listening is what somebody asks of listen.
type listening struct {
	wish    wish
	id, to  string
	timeout time.Duration
	keep    bool
}

func (a *app) listenCommand() *cobra.Command {
	l := &listening{}
	cmd := &cobra.Command{
		Use: "listen RESOURCE", Short: "Get events without an endpoint that the gateway can reach; forward them to one on this machine", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		Long: `Get events without an endpoint that the gateway can reach: collect what waits for a subscription that pulls, and forward each to
--forward-to, exactly as the signed request that an endpoint would get. An event is acknowledged once the answer is 2xx, and tried
again until then, while those after it wait: their order holds. Without --forward-to events are printed and acknowledged.

The subscription is made for it and ends with it, unless --id names one that there is, or --keep leaves it. The flags that choose
events are those of subscribe.`,
		Example: `  webhookctl listen orders --forward-to http://localhost:3000/hooks --type 'order.*'
  webhookctl listen orders --id sub_… -o json`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.listen(cmd, args[0], l) },
	}
	l.wish.registerEvents(cmd)
	cmd.Flags().StringVar(&l.to, "forward-to", "", "the address to send events to, as http://localhost:3000/hooks")
	cmd.Flags().StringVar(&l.id, "id", "", "a subscription that pulls and is there; it stays")
	cmd.Flags().BoolVar(&l.keep, "keep", false, "leave the subscription that is made, for --id")
	cmd.Flags().DurationVar(&l.timeout, "forward-timeout", 15*time.Second, "the longest wait for the answer to one event")
	return cmd
}

func (a *app) listen(cmd *cobra.Command, resource string, l *listening) error {
	hand, err := l.hand()
	if err != nil {
		return err
	}
	gateway, err := a.gateway()
	if err != nil {
		return err
	}
	sub, end, err := a.mailbox(cmd, gateway, resource, l)
	if err != nil {
		return err
	}
	listener := &listen.Listener{
		Source: mailbox{gateway, sub, min(longestPoll, a.flags.timeout/2)}, Hand: hand, Now: a.Now, Tell: a.showForwarded(l.to != ""),
		Note: func(text string) { _, _ = fmt.Fprintln(a.Err, output.OneLine(text, 300)) },
	}
	return errors.Join(listener.Run(cmd.Context()), end())
}

// endTime bounds the end of the subscription that was made.
const endTime = 5 * time.Second

// mailbox finds the subscription, or makes one; end ends one that was made.
func (a *app) mailbox(cmd *cobra.Command, gateway *client.Client, resource string, l *listening) (sub own, end func() error, err error) {
	sub = own{resource, l.id[strings.LastIndexByte(l.id, '/')+1:]}
	if sub.id != "" {
		_, _ = fmt.Fprintf(a.Err, "listening for %s\n", sub)
		return sub, func() error { return nil }, nil
	}
	body, err := l.wish.body(cmd, a)
	if err != nil {
		return sub, nil, err
	}
	body["mode"] = "pull"
	if body["description"] == nil {
		body["description"] = "webhookctl listen " + strings.ToLower(rand.Text()[:8]) // another one for each
	}
	answer, err := gateway.Send(cmd.Context(), http.MethodPost, client.Path(resource, "subscribe"), body)
	if err != nil {
		return sub, nil, err
	}
	var made contract.SubscriptionView
	if err := answer.Decode(&made); err != nil {
		return sub, nil, err
	}
	sub.id = made.ID
	a.tellListening(sub, made.Secret)
	if l.keep || answer.Status != http.StatusCreated { // or it was there
		return sub, func() error { return nil }, nil
	}
	return sub, func() error { return a.leave(cmd.Context(), gateway, sub) }, nil
}

func (a *app) tellListening(sub own, secret string) {
	_, _ = fmt.Fprintf(a.Err, "listening for %s\n", sub)
	if secret != "" {
		_, _ = fmt.Fprintf(a.Err, "its secret, which verifies signatures, is shown this one time: %s\n", secret)
	}
}

// leave ends the subscription also when ctx has ended.
func (a *app) leave(ctx context.Context, gateway *client.Client, sub own) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if _, err := gateway.Send(ctx, http.MethodDelete, sub.path(), nil); err != nil && exit.Of(err) != exit.NotFound {
		return fmt.Errorf("ending the subscription %s, which stays: %w", sub, err)
	}
	_, _ = fmt.Fprintf(a.Err, "ended %s\n", sub)
	return nil
}

// showForwarded prints a line for each attempt; without a place to forward to, the event itself.
func (a *app) showForwarded(forwarded bool) func(listen.Attempt) {
	return func(t listen.Attempt) {
		if !a.print.Human() {
			_ = a.print.Line(forwardView(t, forwarded)) // a reader that is gone ends the process by itself
			return
		}
		if !forwarded {
			a.print.Say("%s  %s", output.Time(a.Now()), t.Letter.Delivery)
			a.print.Say("%s", output.Clean(string(t.Letter.Body)))
			return
		}
		text := ""
		if t.Err != nil {
			text = "  " + output.OneLine(t.Err.Error(), 200)
		}
		if t.Number > 1 {
			text = fmt.Sprintf("  (attempt %d)", t.Number) + text
		}
		a.print.Say("%s  %s  %s  %d ms  %s%s", output.Time(a.Now()), a.print.HTTPStatus(t.Status), t.Letter.Delivery, t.Took.Milliseconds(), output.OneLine(t.Letter.What(), 120), text)
	}
}

// forwardView is an attempt for programs, its headers as the API has them.
func forwardView(t listen.Attempt, forwarded bool) map[string]any {
	headers := map[string]string{}
	for name := range t.Letter.Header {
		headers[strings.ToLower(name)] = t.Letter.Header.Get(name)
	}
	view := map[string]any{"delivery_id": t.Letter.Delivery, "headers": headers, "body": string(t.Letter.Body)}
	if forwarded {
		view["attempt"], view["status"], view["duration_ms"] = t.Number, t.Status, t.Took.Milliseconds()
	}
	if t.Err != nil {
		view["error"] = t.Err.Error()
	}
	return view
}

// mailbox collects by long polls: who forwards one event after the other can't take more than that, and a stream would be cut off
// while an endpoint fails.
type mailbox struct {
	gateway *client.Client
	sub     own
	wait    time.Duration
}

// longestPoll is how long one call waits for an event.
const longestPoll = 20 * time.Second

// Collect returns what waits, from the first one that is not acknowledged.
func (m mailbox) Collect(ctx context.Context) ([]listen.Letter, error) {
	answer, err := m.gateway.Call(ctx, client.Request{
		Method: http.MethodGet, Path: m.sub.path("stream"), Query: url.Values{"wait": {m.wait.Round(time.Millisecond).String()}, "limit": {"100"}},
		Header: http.Header{"Accept": {"application/json"}},
	})
	if err != nil {
		return nil, err
	}
	var page struct {
		Items []struct {
			ID         string            `json:"id"`
			DeliveryID string            `json:"delivery_id"`
			Headers    map[string]string `json:"headers"`
			Body       string            `json:"body"`
			Base64     []byte            `json:"body_base64"`
		} `json:"items"`
	}
	if err := answer.Decode(&page); err != nil {
		return nil, err
	}
	letters := make([]listen.Letter, len(page.Items))
	for i, item := range page.Items {
		letters[i] = listen.Letter{ID: item.ID, Delivery: item.DeliveryID, Header: http.Header{}, Body: []byte(item.Body)}
		if len(item.Base64) > 0 {
			letters[i].Body = item.Base64
		}
		for name, value := range item.Headers {
			letters[i].Header.Set(name, value)
		}
	}
	return letters, nil
}

// Acknowledge tells the service what was taken.
func (m mailbox) Acknowledge(ctx context.Context, letters ...listen.Letter) error {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.ID
	}
	_, err := m.gateway.Send(ctx, http.MethodPost, m.sub.path("stream", "ack"), map[string][]string{"ids": ids})
	return err
}

// hand forwards, or takes what was printed.
func (l *listening) hand() (listen.Hand, error) {
	if l.to == "" {
		return func(context.Context, listen.Letter) (int, error) { return http.StatusOK, nil }, nil
	}
	u, err := url.Parse(l.to)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage("--forward-to %s: write it as http://localhost:3000/hooks", l.to)
	}
	return listen.Forward(l.to, l.timeout), nil
}
