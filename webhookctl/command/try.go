package command

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) subscriptionsTest() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "test " + subscriptionUse, Short: "Send a test event to the endpoint now", ValidArgsFunction: a.completeOwn(),
		Long: "Send a test event to the endpoint now. With --wait, show how its first attempt went; the exit code is 1 if it failed.",
		RunE: a.onGateway(func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			answer, err := gateway.Send(cmd.Context(), http.MethodPost, sub.path("test"), nil)
			if err != nil {
				return err
			}
			var sent struct {
				ID string `json:"delivery_id"`
			}
			if err := answer.Decode(&sent); err != nil {
				return err
			}
			if wait {
				return a.attempted(cmd.Context(), gateway, sub, sent.ID)
			}
			return a.showTest(answer, sent.ID)
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the first attempt and show it")
	return cmd
}

func (a *app) showTest(answer client.Answer, id string) error {
	switch {
	case !a.print.Human():
		return a.print.Raw(answer.Body)
	case a.print.Quiet:
		a.print.Say("%s", id)
	default:
		a.print.Say("a test event is on its way: delivery %s", id)
	}
	return nil
}

// pollEvery is how often something is asked for that is not there yet.
const pollEvery = 250 * time.Millisecond

// attempted waits for a delivery's first attempt, shows it, and fails if it failed.
func (a *app) attempted(ctx context.Context, gateway *client.Client, sub own, delivery string) error {
	waiting, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	answer, d, err := awaitAttempt(waiting, gateway, sub.path("deliveries", delivery))
	if err != nil {
		return fmt.Errorf("waiting for the attempt: %w", err)
	}
	if err := a.showDelivery(answer, false); err != nil {
		return err
	}
	if d.Status != contract.DeliverySucceeded {
		return exit.With(exit.Failed, errSilent)
	}
	return nil
}

func awaitAttempt(ctx context.Context, gateway *client.Client, path string) (client.Answer, contract.Delivery, error) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		var d contract.Delivery
		answer, err := gateway.Get(ctx, path, nil)
		switch {
		case err == nil:
			if err := answer.Decode(&d); err != nil || d.AttemptCount > 0 {
				return answer, d, err
			}
		case exit.Of(err) != exit.NotFound: // its record comes with the first attempt
			return answer, d, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return answer, d, ctx.Err()
		}
	}
}

func (a *app) subscriptionsPreview() *cobra.Command {
	wish := &wish{}
	var event, id string
	cmd := &cobra.Command{
		Use: "preview RESOURCE --event FILE", Short: "See whether a subscription would get an event, and the request that it would get", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		Long: `See whether a subscription would get an event, and the request that it would get. Nothing is sent and nothing is kept. The
subscription is one that there is (--id), or described by the same flags as for subscribe.`,
		Example: "  webhookctl subscriptions preview orders --callback-url https://consumer.example/hooks --filter 'data.total > 100.0' --event event.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if body["id"] = id; id == "" {
				delete(body, "id")
				described, err := wish.body(cmd, a)
				if err != nil {
					return err
				}
				body["subscription"] = described
			}
			var document json.RawMessage
			if err := a.readDocument(event, &document); err != nil {
				return err
			}
			body["event"] = document
			return a.preview(cmd, args[0], body)
		},
	}
	wish.register(cmd)
	cmd.Flags().StringVar(&id, "id", "", "a subscription that there is")
	cmd.Flags().StringVar(&event, "event", "", "a file with a CloudEvent in JSON; - for stdin")
	_ = cmd.MarkFlagRequired("event") // it is there
	return cmd
}

func (a *app) preview(cmd *cobra.Command, resource string, body any) error {
	gateway, err := a.gateway()
	if err != nil {
		return err
	}
	answer, err := gateway.Send(cmd.Context(), http.MethodPost, client.Path(resource, "subscribe", "preview"), body)
	if err != nil {
		return err
	}
	var view contract.PreviewView
	if done, err := a.raw(answer, &view); done {
		return err
	}
	a.print.Fields(output.Field{Name: "wanted", Value: yesNo(view.Wanted)}, output.Field{Name: "types", Value: yesNo(view.Types.Matches) + ": " + output.Clean(view.Types.Reason)},
		output.Field{Name: "filter", Value: yesNo(view.Filter.Matches) + ": " + output.Clean(view.Filter.Reason)}, output.Field{Name: "reason", Value: output.Clean(view.Reason)},
		output.Field{Name: "secret", Value: view.Secret})
	if r := view.Request; r != nil {
		a.print.Say("\n%s %s", r.Method, output.Clean(r.URL))
		for _, name := range slices.Sorted(maps.Keys(r.Headers)) {
			a.print.Say("%s: %s", name, output.Clean(r.Headers[name]))
		}
		a.print.Say("\n%s", output.Clean(r.Body+r.BodyBase64))
	}
	return nil
}
