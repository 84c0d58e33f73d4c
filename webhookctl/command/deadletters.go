package command

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

const deadPath = "/admin/v1/dead-letters"

func (a *app) deadLettersCommand() *cobra.Command {
	cmd := group("dead-letters", "Events that could not be processed and deliveries that were given up: list, replay", a.deadList(), a.deadReplay())
	cmd.Aliases = []string{"dead"}
	return cmd
}

// deadFilters choose among dead letters.
type deadFilters struct{ kind, resource, subscription, since, until string }

func (f *deadFilters) register(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kind, "kind", "", "event or delivery")
	cmd.Flags().StringVar(&f.resource, "resource", "", "of this resource")
	cmd.Flags().StringVar(&f.subscription, "subscription", "", "of the subscription with this id")
	timeFlags(cmd, &f.since, &f.until)
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"event", "delivery"}, noFiles)) // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("resource", a.resourceNames())                                          // likewise
}

// put hands on what was given.
func (f *deadFilters) put(a *app, to func(name, value string)) error {
	for name, value := range map[string]string{"kind": f.kind, "resource": f.resource, "subscription": f.subscription[strings.LastIndexByte(f.subscription, '/')+1:]} {
		if value != "" {
			to(name, value)
		}
	}
	return a.moments(to, map[string]string{"since": f.since, "until": f.until})
}

func (a *app) deadList() *cobra.Command {
	var chosen deadFilters
	var reason string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, newest first", Args: cobra.NoArgs,
		Example: "  webhookctl dead-letters list --resource orders --since 2h --reason timeout",
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if err := chosen.put(a, query.Set); err != nil {
				return err
			}
			if reason != "" {
				query.Set("reason", reason)
			}
			admin, err := a.admin()
			if err != nil {
				return err
			}
			list, err := admin.All(cmd.Context(), deadPath, query, limit)
			if err != nil {
				return err
			}
			return showItems(a, list, []string{"id", "kind", "resource", "given up", "type", "event", "subscription", "reason"}, deadRow)
		},
	}
	chosen.register(a, cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "a part of the reason")
	limitFlag(cmd, &limit)
	return cmd
}

func deadRow(d contract.DeadLetter) []string {
	return []string{d.ID, string(d.Kind), d.Resource, output.Time(d.At), output.OneLine(d.EventType, 40), output.OneLine(d.EventID, 40), d.Subscription, output.OneLine(d.Reason, 100)}
}

func (a *app) deadReplay() *cobra.Command {
	var chosen deadFilters
	var all, yes bool
	cmd := &cobra.Command{
		Use: "replay [ID...]", Short: "Try dead letters again: some by their ids, those that flags choose, or --all",
		Long: `Try dead letters again: deliveries by a replay of their subscriptions' failed ones, events by publishing them anew. The same again
starts nothing twice, so that after a failure or an interruption the same command goes on.`,
		Example: "  webhookctl dead-letters replay dev_… dlv_…\n  webhookctl dead-letters replay --resource orders --since 2h",
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if err := chosen.put(a, func(name, value string) { body[name] = value }); err != nil {
				return err
			}
			if len(args) > 0 {
				body["ids"] = args
			}
			switch {
			case len(body) == 0 && !all:
				return usage("name dead letters, choose some with flags, or say --all")
			case len(body) == 0:
				if err := a.confirm(yes, "try every dead letter again?"); err != nil {
					return err
				}
			}
			return a.replayDead(cmd.Context(), body)
		},
	}
	chosen.register(a, cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every dead letter")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// deadReplayed is what was begun, of one call or of all.
type deadReplayed contract.DeadReplay

// replayDead goes on until nothing remains: one call takes a few seconds at most.
func (a *app) replayDead(ctx context.Context, body map[string]any) error {
	admin, err := a.admin()
	if err != nil {
		return err
	}
	bar := a.bar(-1, "trying again")
	var sum deadReplayed
	for {
		part, err := replayDeadPart(ctx, admin, body)
		if err != nil {
			_ = bar.Clear() // it only draws
			return a.deadBroken(sum, err)
		}
		sum.add(part)
		if part.Remaining == 0 {
			break
		}
		body["remaining"] = part.Remaining
		bar.Describe(fmt.Sprintf("trying again: %d events, %d messages are still to be looked at", sum.Events, part.Remaining))
		_ = bar.Add(1) // it only draws
	}
	_ = bar.Clear() // it only draws
	return a.showDead(sum)
}

func replayDeadPart(ctx context.Context, admin *client.Client, body any) (part deadReplayed, err error) {
	answer, err := admin.Send(ctx, http.MethodPost, deadPath+"/replay", body)
	if err != nil {
		return part, err
	}
	return part, answer.Decode(&part)
}

func (d *deadReplayed) add(part deadReplayed) {
	d.Replays += part.Replays
	d.Running += part.Running
	d.Deliveries += part.Deliveries
	d.Events += part.Events
	d.Scanned += part.Scanned
	d.Remaining = part.Remaining
	d.Skipped = append(d.Skipped, part.Skipped...)
}

func (a *app) deadBroken(sum deadReplayed, err error) error {
	if sum.Events+sum.Replays == 0 {
		return err
	}
	code := exit.Partial
	if exit.Of(err) == exit.Interrupted {
		code = exit.Interrupted
	}
	return exit.With(code, fmt.Errorf("%w\n%d replays were begun and %d events published anew; the same command goes on", err, sum.Replays, sum.Events))
}

func (a *app) showDead(sum deadReplayed) error {
	if !a.print.Human() {
		return a.print.Value(sum)
	}
	a.print.Fields(output.Field{Name: "deliveries", Value: fmt.Sprintf("%d, by %d replays (%d ran already)", sum.Deliveries, sum.Replays, sum.Running)},
		output.Field{Name: "events", Value: fmt.Sprintf("%d published anew", sum.Events)})
	for _, skipped := range sum.Skipped {
		a.print.Say("%s", a.print.Warn(skipped.Subscription+" was left out: "+output.OneLine(skipped.Reason, 200)))
	}
	return nil
}
