package command

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
)

// completer completes one argument.
type completer = cobra.CompletionFunc

// completionTime is for how long a shell is kept waiting.
const completionTime = 2 * time.Second

const noFiles = cobra.ShellCompDirectiveNoFileComp

// completing prepares what RunE would have had prepared, and asks with little patience. What fails completes nothing.
func (a *app) completing(ask func(ctx context.Context, args []string) []cobra.Completion) completer {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if err := a.prepare(); err != nil {
			return nil, noFiles
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		return ask(ctx, args), noFiles
	}
}

// byPlace completes the arguments one after the other.
func byPlace(each ...completer) completer {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, noFiles
		}
		return each[len(args)](cmd, args, begun)
	}
}

// named lists items as completions.
func named[T any](ctx context.Context, c *client.Client, err error, path string, query url.Values, completion func(T) cobra.Completion) []cobra.Completion {
	if err != nil {
		return nil
	}
	answer, err := c.Get(ctx, path, query)
	if err != nil {
		return nil
	}
	var list struct{ Items []T }
	if json.Unmarshal(answer.Body, &list) != nil {
		return nil
	}
	all := make([]cobra.Completion, len(list.Items))
	for i, item := range list.Items {
		all[i] = completion(item)
	}
	return all
}

func (a *app) resourceNames() completer {
	return a.completing(func(ctx context.Context, _ []string) []cobra.Completion {
		admin, err := a.admin()
		return named(ctx, admin, err, "/admin/v1/resources", nil, func(r contract.Resource) cobra.Completion { return r.Name })
	})
}

func (a *app) completeResources() completer { return byPlace(a.resourceNames()) }

func (a *app) consumerNames() completer {
	return a.completing(func(ctx context.Context, _ []string) []cobra.Completion {
		admin, err := a.admin()
		return named(ctx, admin, err, consumersPath, nil, func(c contract.Consumer) cobra.Completion {
			return cobra.CompletionWithDesc(c.ID, c.Name)
		})
	})
}

func (a *app) completeConsumers() completer { return byPlace(a.consumerNames()) }

func (a *app) completeKeys() completer {
	return byPlace(a.consumerNames(), a.completing(func(ctx context.Context, args []string) []cobra.Completion {
		admin, err := a.admin()
		if err != nil {
			return nil
		}
		path, err := a.consumerPath(ctx, admin, args[0])
		return named(ctx, admin, err, path+"/keys", nil, func(k client.Key) cobra.Completion { return k.ID })
	}))
}

func (a *app) subscriptionIDs() completer {
	return a.completing(func(ctx context.Context, args []string) []cobra.Completion {
		gateway, err := a.gateway()
		return named(ctx, gateway, err, client.Path(args[0], "subscribe"), url.Values{"limit": {"100"}}, func(s contract.SubscriptionView) cobra.Completion {
			return cobra.CompletionWithDesc(s.ID, strings.TrimSpace(string(s.Status)+" "+s.CallbackURL))
		})
	})
}

// completeOwn completes a resource and one of the caller's subscriptions to it, and then what more there is.
func (a *app) completeOwn(more ...completer) completer {
	return byPlace(append([]completer{a.resourceNames(), a.subscriptionIDs()}, more...)...)
}

func (a *app) deliveryIDs() completer {
	return a.completing(func(ctx context.Context, args []string) []cobra.Completion {
		gateway, err := a.gateway()
		return named(ctx, gateway, err, own{args[0], args[1]}.path("deliveries"), url.Values{"limit": {"30"}}, func(d contract.Delivery) cobra.Completion {
			return cobra.CompletionWithDesc(d.ID, string(d.Status)+" "+d.EventType)
		})
	})
}
