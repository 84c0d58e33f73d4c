package command

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) portalCommand() *cobra.Command {
	var admin bool
	var consumer string
	cmd := &cobra.Command{
		Use: "portal", Short: "A link that signs you in to the portal", Args: cobra.NoArgs,
		Long: `Print a link that signs you in to the portal: yourself as a consumer, with --admin as an admin, with --consumer one of the consumers
on their behalf. It is good for one sign-in within a few minutes, and whoever has it can use it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if admin && consumer != "" {
				return usage("give either --admin or --consumer")
			}
			c, path, err := a.portalDoor(cmd, admin, consumer)
			if err != nil {
				return err
			}
			answer, err := c.Send(cmd.Context(), http.MethodPost, path, nil)
			return either(err, func() error { return a.showLink(answer) })
		},
	}
	cmd.Flags().BoolVar(&admin, "admin", false, "sign in as an admin")
	cmd.Flags().StringVar(&consumer, "consumer", "", "as an admin: a link for this consumer, by id or name")
	_ = cmd.RegisterFlagCompletionFunc("consumer", a.consumerNames()) // the flag is there
	return cmd
}

// portalDoor is where links are made for somebody.
func (a *app) portalDoor(cmd *cobra.Command, admin bool, consumer string) (*client.Client, string, error) {
	if !admin && consumer == "" {
		gateway, err := a.gateway()
		return gateway, contract.PathPortalLinks, err
	}
	c, err := a.admin()
	if err != nil || admin {
		return c, "/admin/v1/portal-links", err
	}
	path, err := a.consumerPath(cmd.Context(), c, consumer)
	return c, path + "/portal-links", err
}

func (a *app) showLink(answer client.Answer) error {
	var link struct {
		URL       string    `json:"url"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	if done, err := a.raw(answer, &link); done {
		return err
	}
	a.print.Say("%s", output.Clean(link.URL))
	if !a.print.Quiet {
		a.print.Say("%s", a.print.Faint("good for one sign-in until "+output.Time(link.ExpiresAt)))
	}
	return nil
}
