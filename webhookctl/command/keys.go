package command

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

func (a *app) keysCommand() *cobra.Command {
	cmd := group("keys", "API keys of consumers: create, list, revoke", a.keysCreate(), a.keysList(), a.keysRevoke())
	cmd.Aliases = []string{"key"}
	return cmd
}

func (a *app) keysCreate() *cobra.Command {
	var save string
	cmd := &cobra.Command{
		Use: "create CONSUMER", Short: "Create an API key; it is shown this one time", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(),
		Example: "  export WEBHOOK_API_KEY=$(webhookctl keys create acme -q)\n  webhookctl keys create acme --save acme.key",
		RunE: a.onConsumer(func(cmd *cobra.Command, admin *client.Client, path string) error {
			answer, err := admin.Send(cmd.Context(), http.MethodPost, path+"/keys", nil)
			if err != nil {
				return err
			}
			return a.showNewKey(answer, save)
		}),
	}
	cmd.Flags().StringVar(&save, "save", "", "a file to write the key to, for --key-file; it is not shown then")
	return cmd
}

func (a *app) showNewKey(answer client.Answer, save string) error {
	var key client.Key
	if err := answer.Decode(&key); err != nil {
		return err
	}
	if save != "" {
		if err := settings.WriteSecret(a.path(save), []byte(key.Key+"\n")); err != nil {
			return err
		}
		return a.done("key "+key.ID, "saved in "+save)
	}
	switch {
	case !a.print.Human():
		return a.print.Raw(answer.Body)
	case a.print.Quiet:
		a.print.Say("%s", key.Key)
		return nil
	}
	a.print.Fields(output.Field{Name: "id", Value: key.ID}, output.Field{Name: "key", Value: key.Key + "  " + a.print.Faint("(shown this one time)")})
	return nil
}

func (a *app) keysList() *cobra.Command {
	return &cobra.Command{Use: "list CONSUMER", Short: "List a consumer's keys, without the keys themselves", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(), RunE: a.onConsumer(
		func(cmd *cobra.Command, admin *client.Client, path string) error {
			answer, err := admin.Get(cmd.Context(), path+"/keys", nil)
			if err != nil {
				return err
			}
			return showList(a, answer, []string{"id", "created"}, func(k client.Key) []string { return []string{k.ID, output.Time(k.CreatedAt)} })
		})}
}

func (a *app) keysRevoke() *cobra.Command {
	return &cobra.Command{Use: "revoke CONSUMER KEY_ID", Short: "Revoke a key everywhere within five seconds", Args: cobra.ExactArgs(2), ValidArgsFunction: a.completeKeys(), RunE: func(cmd *cobra.Command, args []string) error {
		return a.onConsumer(func(cmd *cobra.Command, admin *client.Client, path string) error {
			if _, err := admin.Send(cmd.Context(), http.MethodDelete, path+"/keys"+client.Path(args[1]), nil); err != nil {
				return err
			}
			return a.done("key "+args[1], "revoked: within five seconds it is refused everywhere")
		})(cmd, args)
	}}
}
