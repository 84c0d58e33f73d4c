package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

const consumersPath = "/admin/v1/consumers"

func (a *app) consumersCommand() *cobra.Command {
	cmd := group("consumers", "Who may call the API: list, create, get, grants, limits, delete",
		a.consumersList(), a.consumersCreate(), a.consumersGet(), a.consumersGrants(), a.consumersLimits(), a.consumersDelete())
	cmd.Aliases = []string{"consumer"}
	return cmd
}

func (a *app) consumersList() *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List all consumers", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		admin, err := a.admin()
		if err != nil {
			return err
		}
		answer, err := admin.Get(cmd.Context(), consumersPath, nil)
		if err != nil {
			return err
		}
		return showList(a, answer, []string{"id", "name", "grants", "limits"}, func(c contract.Consumer) []string {
			return []string{c.ID, output.OneLine(c.Name, 40), output.OneLine(grantsText(c.Grants), 70), limitsText(c.Limits)}
		})
	}}
}

func grantsText(grants []contract.Grant) string {
	texts := make([]string, len(grants))
	for i, g := range grants {
		texts[i] = g.Resource + ":" + strings.Join(g.Actions, ",")
	}
	return strings.Join(texts, " ")
}

func limitsText(l contract.Limits) string {
	var texts []string
	for _, one := range []struct {
		name  string
		value int
	}{{"requests_per_second", l.RequestsPerSecond}, {"events_per_second", l.EventsPerSecond}, {"max_subscriptions", l.MaxSubscriptions}} {
		if one.value != 0 {
			texts = append(texts, one.name+"="+strconv.Itoa(one.value))
		}
	}
	return strings.Join(texts, " ")
}

func (a *app) consumersCreate() *cobra.Command {
	var grants, limits []string
	var file string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a consumer; give it a key with webhookctl keys create", Args: cobra.RangeArgs(0, 1),
		Example: "  webhookctl consumers create acme --grant orders:subscribe,publish --limit events_per_second=500",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if file != "" {
				if err := a.readDocument(file, &body); err != nil {
					return err
				}
			}
			if len(args) == 1 {
				body["name"] = args[0]
			}
			if err := fillConsumer(body, grants, limits); err != nil {
				return err
			}
			return a.sendConsumer(cmd, http.MethodPost, consumersPath, body)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "a JSON or YAML file with name, grants and limits; - for stdin")
	cmd.Flags().StringArrayVar(&grants, "grant", nil, "RESOURCE:ACTIONS, as orders:subscribe,publish (repeatable)")
	cmd.Flags().StringArrayVar(&limits, "limit", nil, "NAME=NUMBER: requests_per_second, events_per_second or max_subscriptions (repeatable)")
	return cmd
}

func fillConsumer(body map[string]any, grants, limits []string) error {
	if len(grants) > 0 {
		parsed, err := parseGrants(grants)
		if err != nil {
			return err
		}
		body["grants"] = parsed
	}
	if len(limits) > 0 {
		parsed, err := parseLimits(map[string]int{}, limits)
		if err != nil {
			return err
		}
		body["limits"] = parsed
	}
	return nil
}

func parseGrants(texts []string) ([]contract.Grant, error) {
	var grants []contract.Grant
	for _, text := range texts {
		resource, actions, ok := strings.Cut(text, ":")
		if !ok || resource == "" || actions == "" {
			return nil, usage("--grant %s: write it as orders:subscribe,publish", text)
		}
		grants = append(grants, contract.Grant{Resource: resource, Actions: strings.Split(actions, ",")})
	}
	return grants, nil
}

// parseLimits changes limits; 0 takes one away.
func parseLimits(limits map[string]int, texts []string) (map[string]int, error) {
	for _, text := range texts {
		name, value, err := pair("limit", text)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, usage("--limit %s: give a number, 0 for the service's own limit", text)
		}
		if limits[name] = n; n == 0 {
			delete(limits, name)
		}
	}
	return limits, nil
}

func (a *app) sendConsumer(cmd *cobra.Command, method, path string, body any) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	answer, err := admin.Send(cmd.Context(), method, path, body)
	if err != nil {
		return err
	}
	return a.showConsumer(answer)
}

func (a *app) showConsumer(answer client.Answer) error {
	return show(a, answer, func(c contract.Consumer) string { return c.ID }, func(c contract.Consumer) {
		a.print.Fields(output.Field{Name: "id", Value: c.ID}, output.Field{Name: "name", Value: output.OneLine(c.Name, 100)},
			output.Field{Name: "grants", Value: grantsText(c.Grants)}, output.Field{Name: "limits", Value: limitsText(c.Limits)})
	})
}

// consumerPath is the path of a consumer, named by its id or by a name that no other one has.
func (a *app) consumerPath(ctx context.Context, admin *client.Client, named string) (string, error) {
	if strings.HasPrefix(named, "con_") {
		return consumersPath + client.Path(named), nil
	}
	answer, err := admin.Get(ctx, consumersPath, nil)
	if err != nil {
		return "", err
	}
	var list struct{ Items []contract.Consumer }
	if err := answer.Decode(&list); err != nil {
		return "", err
	}
	list.Items = slices.DeleteFunc(list.Items, func(c contract.Consumer) bool { return c.Name != named && c.ID != named })
	switch len(list.Items) {
	case 0:
		return "", exit.With(exit.NotFound, fmt.Errorf("there is no consumer %s: see webhookctl consumers list", quoted(named)))
	case 1:
		return consumersPath + client.Path(list.Items[0].ID), nil
	}
	return "", usage("%d consumers are named %s: give the id of one", len(list.Items), quoted(named))
}

// onConsumer is a command about one consumer.
func (a *app) onConsumer(do func(cmd *cobra.Command, admin *client.Client, path string) error) run {
	return func(cmd *cobra.Command, args []string) error {
		admin, err := a.admin()
		if err != nil {
			return err
		}
		path, err := a.consumerPath(cmd.Context(), admin, args[0])
		if err != nil {
			return err
		}
		return do(cmd, admin, path)
	}
}

func (a *app) consumersGet() *cobra.Command {
	return &cobra.Command{Use: "get CONSUMER", Short: "Get one consumer, by id or name", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(), RunE: a.onConsumer(
		func(cmd *cobra.Command, admin *client.Client, path string) error {
			answer, err := admin.Get(cmd.Context(), path, nil)
			return either(err, func() error { return a.showConsumer(answer) })
		})}
}

func (a *app) consumersGrants() *cobra.Command {
	var set, add, remove []string
	cmd := &cobra.Command{
		Use: "grants CONSUMER", Short: "Show what a consumer may do; change it", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(),
		Example: "  webhookctl consumers grants acme --add users:subscribe --remove orders:publish",
		RunE: a.onConsumer(func(cmd *cobra.Command, admin *client.Client, path string) error {
			return a.changeConsumer(cmd, admin, path, len(set)+len(add)+len(remove) > 0, func(c contract.Consumer) (any, error) {
				grants, err := changedGrants(c.Grants, set, add, remove)
				return map[string]any{"grants": grants}, err
			})
		}),
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "RESOURCE:ACTIONS: in place of all that there are (repeatable)")
	cmd.Flags().StringArrayVar(&add, "add", nil, "RESOURCE:ACTIONS, as orders:subscribe,publish (repeatable)")
	cmd.Flags().StringArrayVar(&remove, "remove", nil, "RESOURCE:ACTIONS (repeatable)")
	return cmd
}

func changedGrants(now []contract.Grant, set, add, remove []string) ([]contract.Grant, error) {
	if len(set) > 0 {
		now = nil
	}
	added, err := parseGrants(append(set, add...))
	if err != nil {
		return nil, err
	}
	removed, err := parseGrants(remove)
	if err != nil {
		return nil, err
	}
	var order []string
	actions := map[string][]string{}
	for _, g := range append(slices.Clone(now), added...) {
		if !slices.Contains(order, g.Resource) {
			order = append(order, g.Resource)
		}
		actions[g.Resource] = append(actions[g.Resource], g.Actions...)
	}
	return leftGrants(order, actions, removed), nil
}

func leftGrants(order []string, actions map[string][]string, removed []contract.Grant) []contract.Grant {
	grants := []contract.Grant{}
	for _, resource := range order {
		left := slices.Compact(slices.Sorted(slices.Values(actions[resource])))
		left = slices.DeleteFunc(left, func(action string) bool {
			return slices.ContainsFunc(removed, func(r contract.Grant) bool { return r.Resource == resource && slices.Contains(r.Actions, action) })
		})
		if len(left) > 0 {
			grants = append(grants, contract.Grant{Resource: resource, Actions: left})
		}
	}
	return grants
}

func (a *app) changeConsumer(cmd *cobra.Command, admin *client.Client, path string, change bool, patch func(contract.Consumer) (any, error)) error {
	answer, err := admin.Get(cmd.Context(), path, nil)
	if err != nil || !change {
		return either(err, func() error { return a.showConsumer(answer) })
	}
	var now contract.Consumer
	if err := answer.Decode(&now); err != nil {
		return err
	}
	body, err := patch(now)
	if err != nil {
		return err
	}
	return a.sendConsumer(cmd, http.MethodPatch, path, body)
}

func (a *app) consumersLimits() *cobra.Command {
	var set []string
	var clear bool
	cmd := &cobra.Command{
		Use: "limits CONSUMER", Short: "Show what a consumer may use; change it", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(),
		Example: "  webhookctl consumers limits acme --set requests_per_second=100 --set events_per_second=2000",
		RunE: a.onConsumer(func(cmd *cobra.Command, admin *client.Client, path string) error {
			return a.changeConsumer(cmd, admin, path, clear || len(set) > 0, func(c contract.Consumer) (any, error) {
				limits := map[string]int{}
				if raw, err := json.Marshal(c.Limits); err == nil && !clear {
					_ = json.Unmarshal(raw, &limits) // plain numbers
				}
				limits, err := parseLimits(limits, set)
				return map[string]any{"limits": limits}, err
			})
		}),
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "NAME=NUMBER: requests_per_second, events_per_second, max_subscriptions; 0: the service's own (repeatable)")
	cmd.Flags().BoolVar(&clear, "clear", false, "begin with the service's own limits")
	return cmd
}

func (a *app) consumersDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "delete CONSUMER", Short: "Delete a consumer, its keys and its subscriptions", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeConsumers(), RunE: func(cmd *cobra.Command, args []string) error {
		return a.onConsumer(func(cmd *cobra.Command, _ *client.Client, path string) error {
			return a.delete(cmd, a.admin, yes, path, "consumer "+args[0]+" with its keys and subscriptions")
		})(cmd, args)
	}}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
