package command

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) breakersCommand() *cobra.Command {
	var resource, consumer string
	cmd := &cobra.Command{
		Use: "breakers", Short: "Endpoints that are left alone since they fail: open circuit breakers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range map[string]string{"resource": resource, "consumer": consumer} {
				if value != "" {
					query.Set(name, value)
				}
			}
			admin, err := a.admin()
			if err != nil {
				return err
			}
			answer, err := admin.Get(cmd.Context(), "/admin/v1/breakers", query)
			if err != nil {
				return err
			}
			return showList(a, answer, []string{"subscription", "resource", "consumer", "open since", "tried again", "failures", "waiting", "reason", "replica"}, func(b contract.Breaker) []string {
				return []string{b.Subscription, b.Resource, b.Consumer, output.Time(b.Since), a.when(b.ProbeAt), output.Number(b.Failures), output.Number(b.Parked),
					output.OneLine(b.Reason, 80), output.OneLine(b.Replica, 40)}
			})
		},
	}
	cmd.Flags().StringVar(&resource, "resource", "", "of this resource")
	cmd.Flags().StringVar(&consumer, "consumer", "", "of the consumer with this id")
	_ = cmd.RegisterFlagCompletionFunc("resource", a.resourceNames()) // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("consumer", a.consumerNames()) // likewise
	return cmd
}
