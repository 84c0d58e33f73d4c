// Command bench measures a running stack of this machine: how much it delivers, how fast, how well one endpoint is kept
// from another, and what that costs. Every figure comes with what it is compared to, from the same run: the machine may be
// slow or busy, the ratio is what counts.
//
//	scripts/with-stack.sh up .run/bench bin/bench -figures abcdefghij -json bench.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// settings are the command's flags.
type settings struct {
	runDir, figures, json     string
	events, rounds            int
	subscriptions, resources  int
	maxInFlight, prefetch     int
	window                    time.Duration
	healthyRate, hangingSubs  int
	hanging                   int
	indexed, crowdSize        int
	profile, profileDirectory string
}

func flags() settings {
	var s settings
	flag.StringVar(&s.runDir, "run-dir", os.Getenv("RUN_DIR"), "the folder of the stack; $RUN_DIR unless given")
	flag.StringVar(&s.figures, "figures", "abcdefghij", "which figures: a throughput, b latency, c isolation, d memory, e traffic; "+
		"of the index alone f match, g memory, h rebuild; i other events beside a large fan-out; j filters")
	flag.IntVar(&s.indexed, "indexed", 1_000_000, "subscriptions of f, g and h, a multiple of 1000")
	flag.IntVar(&s.crowdSize, "crowd", 100_000, "subscriptions that want the large event of i")
	flag.StringVar(&s.json, "json", "", "file for the figures as JSON")
	flag.IntVar(&s.events, "events", 10000, "events of one round of a and e")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds, of which the median counts")
	flag.IntVar(&s.subscriptions, "subscriptions", 50, "subscriptions, each with an endpoint of its own; an event reaches one")
	flag.IntVar(&s.resources, "resources", 10, "resources that the subscriptions are spread over")
	flag.IntVar(&s.maxInFlight, "max-in-flight", 0, "max_in_flight of the subscriptions; 0 leaves the default")
	flag.IntVar(&s.prefetch, "prefetch", 500, "prefetch of the bare pipeline, which is what it has in flight: as many as the whole pipeline has with the default 50 subscriptions of max_in_flight 10")
	flag.DurationVar(&s.window, "window", 12*time.Second, "length of one window of b and c")
	flag.IntVar(&s.healthyRate, "healthy-rate", 200, "events per second to healthy endpoints in c")
	flag.IntVar(&s.hangingSubs, "hanging-subscriptions", 10, "subscriptions with endpoints that hang in c")
	flag.IntVar(&s.hanging, "hanging", 10000, "attempts in flight in d; fewer where the limit of open files asks for it")
	flag.StringVar(&s.profile, "profile", "", "CPU profiles during a, as name=host:port of a pprof listener, comma-separated")
	flag.StringVar(&s.profileDirectory, "profile-dir", ".", "folder for the profiles")
	flag.Parse()
	return s
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		cancel()
		os.Exit(1)
	}
}

// run is the command, or one of its own helpers in a process apart, so that what it costs can be told apart.
func run(ctx context.Context) error {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case roleReceiver:
			return runReceiver(ctx)
		case roleBare:
			return runBare(ctx)
		}
	}
	return measure(ctx, flags())
}

func (s settings) check() error {
	if s.runDir == "" {
		return errors.New("-run-dir or $RUN_DIR is needed: the folder of a stack that is up")
	}
	if min(s.events, s.rounds, s.subscriptions, s.resources, s.prefetch, s.healthyRate, s.hangingSubs, s.hanging, s.indexed/1000, s.crowdSize) < 1 {
		return errors.New("counts must be positive")
	}
	if s.window < 2*leadIn {
		return fmt.Errorf("-window must be %v at least: its first %v are not counted", 2*leadIn, leadIn)
	}
	return nil
}

// figures in the order in which they are taken: later ones use what earlier ones found, and d starts the services anew.
var figures = []struct {
	ids  string
	take func(*bench, context.Context) error
}{
	{"a", (*bench).throughput},
	{"b", (*bench).latency},
	{"e", (*bench).traffic},
	{"c", (*bench).isolation},
	{"fgh", (*bench).index},
	{"i", (*bench).fanOut},
	{"d", (*bench).memory},
	{"j", (*bench).filters},
}

func measure(ctx context.Context, s settings) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	b, err := newBench(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, f := range figures {
		if !strings.ContainsAny(s.figures, f.ids) {
			continue
		}
		if err := f.take(b, ctx); err != nil {
			return fmt.Errorf("figure %s: %w", f.ids, err)
		}
	}
	b.report.verdicts(os.Stdout)
	return b.report.save(s.json)
}
