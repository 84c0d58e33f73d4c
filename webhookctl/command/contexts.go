package command

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

func (a *app) contextCommand() *cobra.Command {
	return group("context", "Installations that you know, by name: list, show, set, use, delete", a.contextList(), a.contextShow(), a.contextSet(), a.contextUse(), a.contextDelete())
}

// onContexts is a command about the contexts file.
func (a *app) onContexts(do func(c *settings.Contexts, args []string) error) run {
	return func(_ *cobra.Command, args []string) error {
		contexts, err := settings.ReadContexts(a.ConfigFile)
		if err != nil {
			return exit.With(exit.Usage, err)
		}
		return do(contexts, args)
	}
}

func (a *app) contextNames() completer {
	return byPlace(func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		contexts, err := settings.ReadContexts(a.ConfigFile)
		if err != nil {
			return nil, noFiles
		}
		return contexts.Names(), noFiles
	})
}

func (a *app) contextList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the contexts", Args: cobra.NoArgs, RunE: a.onContexts(func(c *settings.Contexts, _ []string) error {
		if !a.print.Human() {
			return a.print.Value(map[string]any{"current": c.Current, "contexts": c.Names()})
		}
		rows := make([][]string, len(c.Names()))
		for i, name := range c.Names() {
			mark := ""
			if name == c.Current {
				mark = "current"
			}
			rows[i] = []string{name, mark, c.Contexts[name][settings.GatewayURL], c.Contexts[name][settings.AdminURL]}
		}
		a.print.Rows([]string{"name", "", "gateway", "admin"}, rows)
		return nil
	})}
}

// hidden are the settings that are, or hold, secrets.
var hidden = []settings.Name{settings.APIKey, settings.Token, settings.AdminToken, settings.AMQPURL, settings.RedisURL}

func (a *app) contextShow() *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a context, without its secrets", Args: cobra.ExactArgs(1), ValidArgsFunction: a.contextNames(), RunE: a.onContexts(
		func(c *settings.Contexts, args []string) error {
			layer, err := c.Layer(args[0])
			if err != nil {
				return exit.With(exit.NotFound, err)
			}
			shown := map[string]string{}
			var fields []output.Field
			for _, name := range settings.Names {
				value := layer.Values[name]
				if slices.Contains(hidden, name) && value != "" {
					value = "(set)"
				}
				if value != "" {
					shown[string(name)] = value
				}
				fields = append(fields, output.Field{Name: string(name), Value: value})
			}
			if !a.print.Human() {
				return a.print.Value(shown)
			}
			a.print.Fields(fields...)
			return nil
		})}
}

func (a *app) contextSet() *cobra.Command {
	return &cobra.Command{
		Use: "set NAME", Short: "Make or change a context: it takes the addresses and credentials of this command's flags", Args: cobra.ExactArgs(1), ValidArgsFunction: a.contextNames(),
		Long: `Make or change a context: it takes the addresses and credentials that are given as flags with this command, and for those that are not
given keeps what it has. The file is yours alone (mode 0600).`,
		Example: "  webhookctl context set production --gateway-url https://hooks.example.com --key-file acme.key\n  webhookctl context use production",
		RunE: a.onContexts(func(c *settings.Contexts, args []string) error {
			given, err := a.given()
			if err != nil {
				return exit.With(exit.Usage, err)
			}
			values := settings.Context{}
			for name, value := range given.Values {
				if value != "" {
					values[name] = value
				}
			}
			if c.Set(args[0], values); c.Current == "" {
				c.Current = args[0]
			}
			return either(c.Save(), func() error { return a.done("context "+args[0], "saved") })
		}),
	}
}

func (a *app) contextUse() *cobra.Command {
	return &cobra.Command{Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), ValidArgsFunction: a.contextNames(), RunE: a.onContexts(
		func(c *settings.Contexts, args []string) error {
			if _, err := c.Layer(args[0]); err != nil {
				return exit.With(exit.NotFound, err)
			}
			c.Current = args[0]
			return either(c.Save(), func() error { return a.done("context "+args[0], "is the current one") })
		})}
}

func (a *app) contextDelete() *cobra.Command {
	return &cobra.Command{Use: "delete NAME", Short: "Forget a context and its credentials", Args: cobra.ExactArgs(1), ValidArgsFunction: a.contextNames(), RunE: a.onContexts(
		func(c *settings.Contexts, args []string) error {
			if _, err := c.Layer(args[0]); err != nil {
				return exit.With(exit.NotFound, err)
			}
			delete(c.Contexts, args[0])
			if c.Current == args[0] {
				c.Current = ""
			}
			return either(c.Save(), func() error { return a.done("context "+args[0], "deleted") })
		})}
}
