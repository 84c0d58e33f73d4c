package command

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) deliveriesCommand() *cobra.Command {
	cmd := group("deliveries", "What became of events: list, get, tail", a.deliveriesList(), a.deliveriesGet(), a.deliveriesTail())
	cmd.Aliases = []string{"delivery"}
	return cmd
}

// filters are the flags that choose among deliveries.
type filters struct{ status, eventType, event, since, until string }

func (f *filters) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.status, "status", "", "pending, succeeded, failed or canceled")
	cmd.Flags().StringVar(&f.eventType, "type", "", "of events of this type")
	cmd.Flags().StringVar(&f.event, "event-id", "", "of the event with this id")
	timeFlags(cmd, &f.since, &f.until)
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"pending", "succeeded", "failed", "canceled"}, noFiles)) // the flag is there
}

func (f *filters) query(a *app) (url.Values, error) {
	query := url.Values{}
	for name, value := range map[string]string{"status": f.status, "type": f.eventType, "event_id": f.event} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query, a.moments(query.Set, map[string]string{"since": f.since, "until": f.until})
}

func (a *app) deliveriesList() *cobra.Command {
	var chosen filters
	var limit int
	cmd := &cobra.Command{
		Use: "list " + subscriptionUse, Short: "List deliveries, newest first", ValidArgsFunction: a.completeOwn(),
		Example: "  webhookctl deliveries list orders sub_… --status failed --since 2h",
		RunE: a.onGateway(func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			query, err := chosen.query(a)
			if err != nil {
				return err
			}
			list, err := gateway.All(cmd.Context(), sub.path("deliveries"), query, limit)
			if err != nil {
				return err
			}
			return showItems(a, list, []string{"id", "status", "attempts", "event", "type", "created", "next attempt", "reason"}, a.deliveryRow)
		}),
	}
	chosen.register(cmd)
	limitFlag(cmd, &limit)
	return cmd
}

func (a *app) deliveryRow(d contract.Delivery) []string {
	return []string{d.ID, a.print.Status(string(d.Status)), output.Number(d.AttemptCount), output.OneLine(d.EventID, 40), output.OneLine(d.EventType, 40),
		output.Time(d.CreatedAt), output.Time(d.NextAttempt), output.OneLine(d.Reason, 60)}
}
