package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

// path is a path below the subscription.
func (o own) path(below ...string) string {
	return client.Path(append([]string{o.resource, "subscribe", o.id}, below...)...)
}

func (o own) String() string { return o.resource + "/" + o.id }

func (a *app) subscriptionsCommand() *cobra.Command {
	cmd := group("subscriptions", "Your subscriptions: list, get, update, pause, resume, rotate-secret, test, verify-endpoint, preview, delete",
		a.subscriptionsList(), a.subscriptionsGet(), a.subscriptionsUpdate(), a.subscriptionsStatus("pause", "paused", "No more callbacks, for now"),
		a.subscriptionsStatus("resume", "active", "Callbacks again"), a.subscriptionsRotate(), a.subscriptionsTest(), a.subscriptionsVerify(),
		a.subscriptionsPreview(), a.subscriptionsDelete())
	cmd.Aliases = []string{"subscription", "subs", "sub"}
	return cmd
}

func (a *app) subscriptionsList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{Use: "list RESOURCE", Short: "List your subscriptions to a resource", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(), RunE: func(cmd *cobra.Command, args []string) error {
		gateway, err := a.gateway()
		if err != nil {
			return err
		}
		list, err := gateway.All(cmd.Context(), client.Path(args[0], "subscribe"), nil, limit)
		if err != nil {
			return err
		}
		return showItems(a, list, []string{"id", "status", "callback", "types", "filter", "age", "description"}, func(s contract.SubscriptionView) []string {
			return []string{s.ID, a.print.Status(string(s.Status)), output.OneLine(whither(s), 60), output.OneLine(strings.Join(s.Types, ", "), 40),
				output.OneLine(s.Filter, 40), a.print.Age(s.CreatedAt), output.OneLine(s.Description, 40)}
		})
	}}
	limitFlag(cmd, &limit)
	return cmd
}

// whither is where a subscription's events go.
func whither(s contract.SubscriptionView) string {
	if s.CallbackURL == "" && s.Mode == contract.ModePull {
		return "(pull)"
	}
	return s.CallbackURL
}

// onGateway is onOwn with a client.
func (a *app) onGateway(do func(cmd *cobra.Command, gateway *client.Client, sub own, rest []string) error, more ...string) run {
	return onOwn(func(cmd *cobra.Command, sub own, rest []string) error {
		gateway, err := a.gateway()
		if err != nil {
			return err
		}
		return do(cmd, gateway, sub, rest)
	}, more...)
}

func (a *app) subscriptionsGet() *cobra.Command {
	return &cobra.Command{Use: "get " + subscriptionUse, Short: "Get one subscription", ValidArgsFunction: a.completeOwn(), RunE: a.onGateway(
		func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			answer, err := gateway.Get(cmd.Context(), sub.path(), nil)
			return either(err, func() error { return a.showSubscription(answer) })
		})}
}

func (a *app) showSubscription(answer client.Answer) error {
	return show(a, answer, func(sub contract.SubscriptionView) string { return sub.ID }, func(sub contract.SubscriptionView) {
		a.print.Fields(a.subscriptionFields(sub)...)
	})
}

func (a *app) subscriptionFields(s contract.SubscriptionView) []output.Field {
	status := a.print.Status(string(s.Status))
	if s.StatusReason != "" {
		status += "  " + output.Clean(s.StatusReason)
	}
	fields := []output.Field{
		{Name: "id", Value: s.ID}, {Name: "resource", Value: s.Resource}, {Name: "status", Value: status}, {Name: "mode", Value: string(s.Mode)},
		{Name: "verification", Value: verificationText(s.Verification)},
		{Name: "callback_url", Value: output.Clean(s.CallbackURL)}, {Name: "types", Value: strings.Join(s.Types, ", ")}, {Name: "filter", Value: output.Clean(s.Filter)},
		{Name: "transform", Value: output.Clean(s.Transform)}, {Name: "format", Value: string(s.Format)}, {Name: "headers", Value: membersText(s.Headers)},
		{Name: "auth", Value: authText(s.Auth)}, {Name: "rate_limit", Value: rateText(s.RateLimit)}, {Name: "max_in_flight", Value: output.Number(s.MaxInFlight)},
		{Name: "ordering", Value: string(s.Ordering)}, {Name: "retry_schedule", Value: listText(s.RetrySchedule)}, {Name: "timeouts", Value: timeoutsText(s.Timeouts)},
		{Name: "description", Value: output.Clean(s.Description)}, {Name: "created", Value: output.Time(s.CreatedAt)}, {Name: "updated", Value: output.Time(s.UpdatedAt)},
		{Name: "signatures", Value: listText(s.Signatures)}, {Name: "public_keys", Value: strings.Join(s.PublicKeys, "\n")},
	}
	if s.Secret != "" {
		fields = append(fields, output.Field{Name: "secret", Value: s.Secret + "  " + a.print.Faint("(shown this one time; it verifies signatures)")})
	}
	return fields
}

func verificationText(v *contract.VerificationView) string {
	if v == nil {
		return ""
	}
	text := fmt.Sprintf("%s by %s, asked %d times", v.State, v.Method, v.Attempts)
	if v.LastError != "" {
		text += ": " + output.OneLine(v.LastError, 200)
	}
	if !v.NextAttempt.IsZero() {
		text += "; again at " + output.Time(v.NextAttempt)
	}
	return text
}

func membersText(members map[string]string) string {
	texts := make([]string, 0, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		texts = append(texts, output.OneLine(name+": "+members[name], 200))
	}
	return strings.Join(texts, "\n")
}

// authText is what the API shows of a credential, as it came.
func authText(auth *contract.AuthView) string {
	if auth == nil {
		return ""
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(auth) // always can be
	return output.OneLine(text.String(), 200)
}

func listText[T any](list []T) string {
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = fmt.Sprint(one)
	}
	return strings.Join(texts, ", ")
}

func timeoutsText(t contract.Timeouts) string {
	members := map[string]string{}
	for name, d := range map[string]contract.Duration{"connect": t.Connect, "header": t.Header, "total": t.Total} {
		if d != 0 {
			members[name] = d.String()
		}
	}
	return membersText(members)
}

func rateText(rate float64) string {
	if rate == 0 {
		return ""
	}
	return strconv.FormatFloat(rate, 'f', -1, 64) + " per second"
}

func (a *app) subscriptionsUpdate() *cobra.Command {
	wish := &wish{}
	cmd := &cobra.Command{
		Use: "update " + subscriptionUse, Short: "Change a subscription: what is not given stays", ValidArgsFunction: a.completeOwn(),
		Example: "  webhookctl subscriptions update orders sub_… --filter 'data.total > 100.0' --clear rate_limit",
		RunE: a.onGateway(func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			body, err := wish.body(cmd, a)
			if err != nil {
				return err
			}
			if len(body) == 0 {
				return usage("nothing is to be changed: give a flag or a file")
			}
			answer, err := gateway.Send(cmd.Context(), http.MethodPatch, sub.path(), body)
			return either(err, func() error { return a.showSubscription(answer) })
		}),
	}
	wish.register(cmd)
	cmd.Flags().StringSliceVar(&wish.clear, "clear", nil, "a field to take away, as filter or rate_limit (repeatable)")
	return cmd
}

func (a *app) subscriptionsStatus(name, status, short string) *cobra.Command {
	return &cobra.Command{Use: name + " " + subscriptionUse, Short: short, ValidArgsFunction: a.completeOwn(), RunE: a.onGateway(
		func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			answer, err := gateway.Send(cmd.Context(), http.MethodPatch, sub.path(), map[string]string{"status": status})
			return either(err, func() error { return a.changed(answer, sub) })
		})}
}

// changed says in what state a subscription is now.
func (a *app) changed(answer client.Answer, sub own) error {
	var now contract.SubscriptionView
	if done, err := a.raw(answer, &now); done {
		return err
	}
	return a.done(sub.String(), "is "+a.print.Status(string(now.Status)))
}

func (a *app) subscriptionsRotate() *cobra.Command {
	var save string
	cmd := &cobra.Command{Use: "rotate-secret " + subscriptionUse, Short: "Get a new secret; the old one signs for 24 hours more", ValidArgsFunction: a.completeOwn(), RunE: a.onGateway(
		func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			answer, err := gateway.Send(cmd.Context(), http.MethodPost, sub.path("rotate-secret"), nil)
			return either(err, func() error { return a.showSecret(answer, save) })
		})}
	saveFlag(cmd, &save)
	return cmd
}

func (a *app) subscriptionsVerify() *cobra.Command {
	return &cobra.Command{Use: "verify-endpoint " + subscriptionUse, Short: "Ask the endpoint for its consent again", ValidArgsFunction: a.completeOwn(), RunE: a.onGateway(
		func(cmd *cobra.Command, gateway *client.Client, sub own, _ []string) error {
			answer, err := gateway.Send(cmd.Context(), http.MethodPost, sub.path("verify"), nil)
			return either(err, func() error { return a.showSubscription(answer) })
		})}
}

func (a *app) subscriptionsDelete() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{Use: "delete " + subscriptionUse, Aliases: []string{"unsubscribe"}, Short: "Unsubscribe: no callback starts after it", ValidArgsFunction: a.completeOwn(), RunE: onOwn(
		func(cmd *cobra.Command, sub own, _ []string) error {
			return a.delete(cmd, a.gateway, yes, sub.path(), "subscription "+sub.String())
		})}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
