// Command chaos publishes events to many subscriptions while it kills and restarts each part of a stack in turn, and cuts,
// stalls and slows the connections between them. Then it accounts for every pair of event and subscription from the
// endpoints' own log. It exits with 1 if one is lost or out of order, or if there are more duplicates than attempts were in
// flight when something broke. The same seed gives the same plan.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	size
	seed     uint64
	ordered  float64
	patience time.Duration
	json     string
	short    bool
}

func main() {
	o := options{}
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().Unix()), "draws the plan; the time unless given") // #nosec G115 -- after 1970
	flag.IntVar(&o.events, "events", 20000, "events to publish")
	flag.IntVar(&o.subscriptions, "subscriptions", 50, "subscriptions to publish them to")
	flag.IntVar(&o.faults, "faults", mostFaults, "faults, 28 at most: every part killed and restarted, and a bad link after each")
	flag.Float64Var(&o.rate, "rate", 400, "events per second at most")
	flag.Float64Var(&o.ordered, "ordered", 0.3, "the share of subscriptions that are ordered by subject")
	flag.DurationVar(&o.outage, "outage", 6*time.Second, "the longest outage of an endpoint")
	flag.DurationVar(&o.patience, "patience", 45*time.Second, "how long nothing may arrive before what is missing counts as lost")
	flag.StringVar(&o.json, "json", "", "writes the account to this file as JSON; - is stdout, instead of the table")
	flag.BoolVar(&o.short, "short", false, "2,000 events, 20 subscriptions, every part once")
	flag.Parse()
	if o.short {
		o.shorten()
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to release
	}
}

// shorten leaves alone what was asked for by a flag of its own.
func (o *options) shorten() {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"events": "2000", "subscriptions": "20", "faults": "10", "outage": "2s", "patience": "20s"} {
		if !given[name] {
			_ = flag.Set(name, value) // a value of its own type
		}
	}
}

func (o options) check() error {
	if o.events < 1 || o.subscriptions < 2 || o.faults < 0 || o.rate <= 0 || o.outage < 0 {
		return errors.New("at least one event, two subscriptions and a rate are needed: see -h")
	}
	return nil
}

func run(ctx context.Context, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	p := makePlan(o.seed, o.size, o.ordered, strconv.FormatInt(time.Now().UnixMilli(), 36))
	say("seed %d: %d events to %d subscriptions, %d faults; starting the services", o.seed, o.events, o.subscriptions, len(p.faults))
	s, err := setScene(ctx, p)
	if err != nil {
		return err
	}
	defer s.close()
	st := newStorm(s, o.rate, say)
	if err := st.run(ctx); err != nil {
		return err
	}
	calm(ctx, s, o.patience)
	a := settle(p, s.endpoints.calls(), st.happened)
	return report(ctx, s, o, a)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// calm waits until everything has arrived and nothing is under way, or until nothing has arrived for too long.
func calm(ctx context.Context, s *scene, patience time.Duration) {
	const quiet = 3 * time.Second // for a duplicate that is late
	expected := len(s.plan.expected())
	before, since := -1, time.Now()
	for ctx.Err() == nil {
		calls, delivered := s.endpoints.progress()
		if calls != before {
			before, since = calls, time.Now()
		}
		n, ok := s.inFlight(ctx)
		idle := time.Since(since)
		if idle > patience || idle > quiet && delivered >= expected && ok && n == 0 {
			return
		}
		pause(ctx, 100*time.Millisecond)
	}
}
