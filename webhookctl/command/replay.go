package command

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

func (a *app) replayCommand() *cobra.Command {
	var since, until, status string
	var detach bool
	cmd := &cobra.Command{
		Use: "replay " + subscriptionUse + " [DELIVERY]", Short: "Send deliveries again: one, or those of a time", ValidArgsFunction: a.completeOwn(a.deliveryIDs()),
		Long: `Send deliveries again: one, or those of events since a time, at most seven days ago. A delivery keeps its webhook-id. The replay
runs in the service: whoever interrupts this command only ends the watching, and webhookctl replay watch goes on with that.`,
		Example: `  webhookctl replay orders sub_… dlv_…
  webhookctl replay orders sub_… --since 2h --status failed`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sub, rest, err := ownArgs(args)
			if err != nil {
				return err
			}
			path, body, err := a.replayCall(sub, rest, map[string]string{"since": since, "until": until}, status)
			if err != nil {
				return err
			}
			return a.replay(cmd, sub, path, body, detach)
		},
	}
	timeFlags(cmd, &since, &until)
	cmd.Flags().StringVar(&status, "status", "", "only deliveries that are failed, succeeded or canceled; none: every event that the subscription wants")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not watch it")
	_ = cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"failed", "succeeded", "canceled"}, noFiles)) // the flag is there
	cmd.AddCommand(a.replayWatch())
	return cmd
}

// replayCall is the call that asks for a replay.
func (a *app) replayCall(sub own, rest []string, times map[string]string, status string) (path string, body map[string]any, err error) {
	switch {
	case len(rest) > 1:
		return "", nil, usage("%s is too much: name one delivery, or give --since", rest[1])
	case len(rest) == 1 && times["since"]+times["until"]+status != "":
		return "", nil, usage("give either a delivery or --since, --until and --status")
	case len(rest) == 1:
		return sub.path("deliveries", rest[0], "replay"), nil, nil
	case times["since"] == "":
		return "", nil, usage("say what to send again: a delivery, or --since")
	}
	body = map[string]any{}
	if status != "" {
		body["status"] = status
	}
	return sub.path("replay"), body, a.moments(func(name, value string) { body[name] = value }, times)
}

func (a *app) replay(cmd *cobra.Command, sub own, path string, body map[string]any, detach bool) error {
	gateway, err := a.gateway()
	if err != nil {
		return err
	}
	request := client.Request{Method: http.MethodPost, Path: path}
	if body != nil {
		request.Body = body
	}
	answer, err := gateway.Call(cmd.Context(), request)
	if err != nil {
		return err
	}
	var r contract.Replay
	if err := answer.Decode(&r); err != nil {
		return err
	}
	if answer.Status == http.StatusOK {
		_, _ = fmt.Fprintln(a.Err, "the same replay runs already")
	}
	if detach {
		return a.showReplay(answer)
	}
	return a.watch(cmd.Context(), gateway, sub, r.ID)
}

func (a *app) replayWatch() *cobra.Command {
	return &cobra.Command{Use: "watch " + subscriptionUse + " REPLAY", Short: "Go on watching a replay", ValidArgsFunction: a.completeOwn(), RunE: a.onGateway(
		func(cmd *cobra.Command, gateway *client.Client, sub own, rest []string) error {
			return a.watch(cmd.Context(), gateway, sub, rest[0])
		}, "REPLAY")}
}

// watch follows a replay to its end.
func (a *app) watch(ctx context.Context, gateway *client.Client, sub own, id string) error {
	bar := a.bar(whole, "replaying")
	answer, r, err := follow(ctx, gateway, sub.path("replay", id), func(r contract.Replay) {
		bar.Describe(fmt.Sprintf("replaying: %d events looked at, %d deliveries sent", r.Scanned, r.Sent))
		_ = bar.Set64(share(r)) // it only draws
	})
	_ = bar.Clear() // it only draws
	switch {
	case ctx.Err() != nil:
		_, _ = fmt.Fprintf(a.Err, "the replay goes on: webhookctl replay watch %s %s %s\n", sub.resource, sub.id, id)
		return exit.With(exit.Interrupted, errSilent)
	case err != nil:
		return err
	}
	if err := a.showReplay(answer); err != nil {
		return err
	}
	if r.State != contract.ReplayDone {
		return exit.With(exit.Failed, fmt.Errorf("the replay was %s: %s", r.State, r.Reason))
	}
	return nil
}

// whole is the end of the bar, of which a share is done.
const whole = 1000

// share is how far a replay has come between its beginning and its end.
func share(r contract.Replay) int64 {
	until := r.Until
	if until.IsZero() || until.After(r.CreatedAt) {
		until = r.CreatedAt
	}
	span := until.Sub(r.Since)
	if span <= 0 || r.Reached.Before(r.Since) {
		return 0
	}
	return min(whole, int64(float64(whole)*float64(r.Reached.Sub(r.Since))/float64(span)))
}

// follow asks for a replay until it is over. What fails for a while is asked again.
func follow(ctx context.Context, gateway *client.Client, path string, tell func(contract.Replay)) (client.Answer, contract.Replay, error) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for failures := 0; ; {
		var r contract.Replay
		answer, err := gateway.Get(ctx, path, nil)
		if err == nil {
			err = answer.Decode(&r)
		}
		switch {
		case err == nil && r.State != contract.ReplayRunning:
			return answer, r, nil
		case err == nil:
			failures = 0
			tell(r)
		case exit.Of(err) != exit.Unavailable || failures > 60:
			return answer, r, err
		default:
			failures++
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return answer, r, ctx.Err()
		}
	}
}

func (a *app) showReplay(answer client.Answer) error {
	return show(a, answer, func(r contract.Replay) string { return r.ID }, func(r contract.Replay) {
		state := a.print.Status(string(r.State))
		if r.Reason != "" {
			state += "  " + output.Clean(r.Reason)
		}
		a.print.Fields(output.Field{Name: "replay", Value: r.ID}, output.Field{Name: "state", Value: state}, output.Field{Name: "delivery", Value: r.Delivery},
			output.Field{Name: "since", Value: output.Time(r.Since)}, output.Field{Name: "until", Value: output.Time(r.Until)}, output.Field{Name: "status", Value: string(r.Status)},
			output.Field{Name: "events looked at", Value: fmt.Sprint(r.Scanned)}, output.Field{Name: "deliveries sent", Value: fmt.Sprint(r.Sent)})
	})
}

// bar is a progress bar on stderr, or none where nobody looks; most is -1 where the end is not known.
func (a *app) bar(most int64, what string) *progressbar.ProgressBar {
	return progressbar.NewOptions64(most, progressbar.OptionSetWriter(a.Err), progressbar.OptionSetDescription(what), progressbar.OptionSetVisibility(a.ErrTerminal),
		progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(most > 0))
}
