package command

import (
	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

const long = `webhookctl does what admins, producers and consumers of apisix-webhooks do.

Whom it speaks to comes from flags, then from the environment (GATEWAY_URL, ADMIN_URL, ADMIN_TOKEN, AMQP_URL, WEBHOOK_API_KEY or
WEBHOOK_TOKEN), then from the context that --context names; without one from .run/env of the current directory, where
` + "`make up`" + ` has written it, as far as it is about this machine, and else from the current context (webhookctl context). Credentials
of a context go only to that context's addresses.`

// root is the whole command line.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "webhookctl", Short: "The command line of apisix-webhooks", Long: long, SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.prepare() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exit.With(exit.Usage, err) })
	a.flags.register(root)
	root.AddGroup(&cobra.Group{ID: "consumer", Title: "For consumers:"}, &cobra.Group{ID: "producer", Title: "For producers:"},
		&cobra.Group{ID: "admin", Title: "For admins:"}, &cobra.Group{ID: "all", Title: "For all:"})
	add := func(id string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	add("consumer", a.subscribeCommand(), a.subscriptionsCommand(), a.deliveriesCommand(), a.replayCommand(), a.listenCommand(), a.receiveCommand(), a.verifyCommand())
	add("producer", a.eventsCommand())
	add("admin", a.resourcesCommand(), a.consumersCommand(), a.keysCommand(), a.auditCommand(), a.breakersCommand(), a.deadLettersCommand())
	add("all", a.explainCommand(), a.doctorCommand(), a.portalCommand(), a.contextCommand())
	root.AddCommand(topics()...)
	root.AddCommand(docsCommand())
	root.SetHelpCommandGroupID("all")
	root.SetCompletionCommandGroupID("all")
	return root
}

// topics are pages of help.
func topics() []*cobra.Command {
	return []*cobra.Command{{Use: "exit-codes", Short: "What the exit codes mean", Long: exit.Help}}
}
