package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// outcome is a run as JSON.
type outcome struct {
	Seed          uint64  `json:"seed"`
	Events        int     `json:"events"`
	Subscriptions int     `json:"subscriptions"`
	Seconds       float64 `json:"seconds"`
	OK            bool    `json:"ok"`
	account
}

var errBroken = errors.New("the promise was broken")

// report prints the account, and returns an error if it does not hold.
func report(ctx context.Context, s *scene, o options, a account) error {
	out := outcome{o.seed, o.events, o.subscriptions, time.Since(s.endpoints.start).Round(time.Millisecond).Seconds(), a.holds(), a}
	if err := write(out, o.json); err != nil {
		return err
	}
	if a.holds() {
		return nil
	}
	s.explain(ctx, "lost", a.lost)
	s.explain(ctx, "out of order", a.outOfOrder)
	return fmt.Errorf("%w: %d lost, %d out of order, %d duplicates where %d are excused; again with -seed %d",
		errBroken, a.Lost, a.OutOfOrder, a.Duplicates, a.Allowed, o.seed)
}

func write(out outcome, file string) error {
	if file != "-" {
		if err := out.table(os.Stdout); err != nil || file == "" {
			return err
		}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the account: %w", err)
	}
	if file == "-" {
		_, err = fmt.Println(string(text))
		return err
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the account: %w", err)
	}
	return nil
}

func (o outcome) table(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nFAULT\tTIMES\tIN FLIGHT\tDUPLICATES\tLONGEST SILENCE\t")
	for _, f := range o.Faults {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.1f s\t\n", f.Fault, f.Times, f.InFlight, f.Duplicates, f.Silence)
	}
	fmt.Fprintf(w, "all\t\t%d\t%d\t\t\n", o.Allowed, o.Duplicates)
	fmt.Fprintln(w, "\nEVENTS\tSUBSCRIPTIONS\tEXPECTED\tDELIVERED\tDUPLICATES\tEXCUSED\tLOST\tOUT OF ORDER\tBADLY SIGNED\tCALLS\tTIME\t")
	fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f s\t\n", o.Events, o.Subscriptions, o.Expected, o.Delivered,
		o.Duplicates, o.Allowed, o.Lost, o.OutOfOrder, o.BadlySigned, o.Calls, o.Seconds)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	return nil
}

// explain says what the service knows of the first few pairs.
func (s *scene) explain(ctx context.Context, what string, pairs []pair) {
	const shown = 5
	for _, p := range pairs[:min(shown, len(pairs))] {
		sub := s.plan.subscriptions[p.subscription]
		id := contract.DeliveryID("/chaos", fmt.Sprint("event-", p.event), s.ids[p.subscription])
		path := "/" + s.plan.resource(sub.slot) + "/subscribe/" + s.ids[p.subscription] + "/deliveries/" + id
		answer, err := s.consumer.Do(ctx, http.MethodGet, path, nil)
		say("%s: event %d to subscription %d (ordered %v, %v): %d %s", what, p.event, p.subscription, sub.ordered, sub.manner, answer.Status,
			cmp.Or(string(answer.Body), fmt.Sprint(err)))
	}
	if len(pairs) > shown {
		say("and %d more", len(pairs)-shown)
	}
}
