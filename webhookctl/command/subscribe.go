package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

func (a *app) subscribeCommand() *cobra.Command {
	wish := &wish{}
	var save string
	cmd := &cobra.Command{
		Use: "subscribe RESOURCE", Short: "Subscribe to a resource's events", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(),
		Long: `Subscribe to a resource's events. The secret, which verifies signatures, is shown this one time. The same again finds the
subscription that there is.`,
		Example: `  webhookctl subscribe orders --callback-url https://consumer.example/hooks --type 'order.*' --save-secret orders.secret
  webhookctl subscribe orders --callback-url https://consumer.example/hooks --filter 'data.total > 100.0' --auth type=bearer --auth token=@token.txt
  webhookctl subscribe orders -f subscription.yaml --rate-limit 50`,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := wish.body(cmd, a)
			if err != nil {
				return err
			}
			gateway, err := a.gateway()
			if err != nil {
				return err
			}
			answer, err := gateway.Send(cmd.Context(), http.MethodPost, client.Path(args[0], "subscribe"), body)
			if err != nil {
				return err
			}
			return a.showSecret(answer, save)
		},
	}
	wish.register(cmd)
	saveFlag(cmd, &save)
	return cmd
}

func saveFlag(cmd *cobra.Command, save *string) {
	cmd.Flags().StringVar(save, "save-secret", "", "a file to write the secret to, for --secret-file; it is not shown then")
}

// showSecret shows a subscription that was just made, or whose secret was.
func (a *app) showSecret(answer client.Answer, save string) error {
	var sub contract.SubscriptionView
	if err := answer.Decode(&sub); err != nil {
		return err
	}
	if save != "" && sub.Secret != "" {
		if err := settings.WriteSecret(a.path(save), []byte(sub.Secret+"\n")); err != nil {
			return err
		}
		sub.Secret = ""
		return a.showSaved(sub, save)
	}
	if answer.Status == http.StatusOK && sub.Secret == "" && a.print.Human() && !a.print.Quiet {
		a.print.Say("%s", a.print.Warn("this subscription was there already; its secret is not shown again"))
	}
	return a.showSubscription(answer)
}

// showSaved leaves the secret out of every format.
func (a *app) showSaved(sub contract.SubscriptionView, save string) error {
	if !a.print.Human() {
		return a.print.Value(sub)
	}
	if a.print.Quiet {
		a.print.Say("%s", sub.ID)
		return nil
	}
	a.print.Fields(append(a.subscriptionFields(sub), output.Field{Name: "secret", Value: "saved in " + save})...)
	return nil
}
