package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// indexFigures are what bench-index prints; see there.
type indexFigures struct {
	Subscriptions int     `json:"subscriptions"`
	Matches       int     `json:"matches"`
	MatchMany     float64 `json:"match_many_ns"`
	MatchFew      float64 `json:"match_few_ns"`
	Bytes         float64 `json:"bytes_per_subscription"`
	Rebuild       float64 `json:"rebuild_seconds"`
}

// index is the figures f, g and h, of the listener's index alone.
func (b *bench) index(ctx context.Context) error {
	f, err := b.measureIndex(ctx)
	if err != nil {
		return err
	}
	t := table{Figure: "f", Title: fmt.Sprintf("the index of %d subscriptions over 1,000 types, alone", f.Subscriptions), Columns: []string{"seen"}, Rows: []row{
		{fmt.Sprintf("f  match of an event with %d matches, µs", f.Matches), []float64{f.MatchMany / 1e3}},
		{fmt.Sprintf("f  the same among %d subscriptions, µs", f.Matches), []float64{f.MatchFew / 1e3}},
		{"g  memory per subscription, bytes", []float64{f.Bytes}},
	}}
	b.report.atMost("f", "match among many / among few, same number of matches", f.MatchMany/f.MatchFew, 1.5)
	b.report.atMost("g", "bytes per subscription without filter", f.Bytes, 600)
	if f.Rebuild > 0 {
		t.Rows = append(t.Rows, row{"h  reading all of them from Redis, s", []float64{f.Rebuild}})
		b.report.atMost("h", fmt.Sprintf("rebuild of %d subscriptions, s", f.Subscriptions), f.Rebuild, 15)
	}
	b.report.add(t)
	return nil
}

// measureIndex runs bench-index, which lies beside this program, over the stack's Redis if h is asked for.
func (b *bench) measureIndex(ctx context.Context) (f indexFigures, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, fmt.Errorf("finding this program: %w", err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(self), "bench-index"), "-subscriptions", strconv.Itoa(b.indexed)) // #nosec G204 -- our own program
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, os.Stderr, []string{}
	if strings.Contains(b.figures, "h") {
		cmd.Env = append(cmd.Env, "REDIS_URL="+b.stack.RedisURL)
	}
	if err := cmd.Run(); err != nil {
		return f, fmt.Errorf("running bench-index: %w", err)
	}
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return f, fmt.Errorf("reading what bench-index found: %w", err)
	}
	return f, nil
}
