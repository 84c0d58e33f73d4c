package command

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) explainCommand() *cobra.Command {
	var source, resource, subscription string
	var limit int
	cmd := &cobra.Command{
		Use: "explain EVENT_ID", Short: "Why an event reached a subscription, or did not", Args: cobra.ExactArgs(1),
		Long: `Why an event reached a subscription, or did not. Events are remembered for 24 hours. With --subscription it is about one of yours;
without it the admin is told about all subscriptions to the event's resource, and --source is needed.`,
		Example: `  webhookctl explain 4711 --subscription orders/sub_…
  webhookctl explain 4711 --source /shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if subscription != "" {
				return a.explainOwn(cmd, args[0], source, subscription)
			}
			if source == "" {
				return usage("give --subscription RESOURCE/ID as a consumer, or --source as an admin")
			}
			return a.explainEvent(cmd, source, args[0], resource, limit)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the event's source")
	cmd.Flags().StringVar(&resource, "resource", "", "the event's resource, if events of several have that source and id")
	cmd.Flags().StringVar(&subscription, "subscription", "", "one of your subscriptions, as orders/sub_…")
	limitFlag(cmd, &limit)
	return cmd
}

// explained is why one event did or did not reach one subscription.
type explained struct {
	Subscription string             `json:"subscription_id"`
	Consumer     string             `json:"consumer_id"`
	Matched      bool               `json:"matched"`
	Reason       string             `json:"reason"`
	Detail       string             `json:"detail"`
	Values       []lookedAt         `json:"values"`
	Delivery     *contract.Delivery `json:"delivery"`
}

// lookedAt is what a filter looks at, as it was in the event.
type lookedAt struct {
	Expression string `json:"expression"`
	JSON       string `json:"value"`
}

// facts are what is known of an event.
type facts struct {
	Source     string    `json:"source"`
	ID         string    `json:"id"`
	Resource   string    `json:"resource"`
	ReceivedAt time.Time `json:"received_at"`
	Commands   int       `json:"commands"`
	DeadLetter string    `json:"dead_letter"`
	Type       string    `json:"type"`
	Subject    string    `json:"subject"`
}

func (a *app) explainOwn(cmd *cobra.Command, event, source, subscription string) error {
	sub, _, err := ownArgs([]string{subscription})
	if err != nil {
		return err
	}
	gateway, err := a.gateway()
	if err != nil {
		return err
	}
	query := url.Values{"event": {event}}
	if source != "" {
		query.Set("source", source)
	}
	answer, err := gateway.Get(cmd.Context(), sub.path("explain"), query)
	if err != nil {
		return err
	}
	var view struct {
		facts
		explained
	}
	if done, err := a.raw(answer, &view); done {
		return err
	}
	a.print.Fields(append(a.factFields(view.facts), a.reasonFields(view.explained)...)...)
	if view.Delivery != nil {
		a.print.Say("")
		a.timeline(*view.Delivery, false)
	}
	return nil
}

func (a *app) factFields(f facts) []output.Field {
	return []output.Field{
		{Name: "event", Value: output.OneLine(f.ID+" of "+f.Source, 200)}, {Name: "resource", Value: f.Resource}, {Name: "type", Value: output.OneLine(f.Type, 150)},
		{Name: "subject", Value: output.OneLine(f.Subject, 150)}, {Name: "received", Value: output.Time(f.ReceivedAt)}, {Name: "commands", Value: fmt.Sprint(f.Commands)},
		{Name: "dead letter", Value: a.print.Bad(output.OneLine(f.DeadLetter, 300))},
	}
}

func (a *app) reasonFields(e explained) []output.Field {
	verdict := a.print.Bad("not delivered")
	if e.Matched {
		verdict = a.print.Good("there is a delivery")
	}
	values := make([]string, len(e.Values))
	for i, v := range e.Values {
		values[i] = output.OneLine(v.Expression+" = "+v.JSON, 200)
	}
	return []output.Field{{Name: "verdict", Value: verdict}, {Name: "reason", Value: output.Clean(strings.TrimSuffix(e.Reason+": "+e.Detail, ": "))}, {Name: "values", Value: strings.Join(values, "\n")}}
}

func (a *app) explainEvent(cmd *cobra.Command, source, id, resource string, limit int) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {fmt.Sprint(limit)}}
	if limit <= 0 {
		query.Set("limit", "100")
	}
	if resource != "" {
		query.Set("resource", resource)
	}
	answer, err := admin.Get(cmd.Context(), "/admin/v1/events"+client.Path(source, id)+"/explain", query)
	if err != nil {
		return err
	}
	var view struct {
		facts
		Subscriptions client.List `json:"subscriptions"`
	}
	if done, err := a.raw(answer, &view); done {
		return err
	}
	a.print.Fields(a.factFields(view.facts)...)
	a.print.Say("")
	return showItems(a, view.Subscriptions, []string{"subscription", "consumer", "delivered", "reason", "delivery"}, func(e explained) []string {
		delivery := ""
		if e.Delivery != nil {
			delivery = e.Delivery.ID + " " + a.print.Status(string(e.Delivery.Status))
		}
		return []string{e.Subscription, e.Consumer, yesNo(e.Matched), output.OneLine(strings.TrimSuffix(e.Reason+": "+e.Detail, ": "), 100), delivery}
	})
}
