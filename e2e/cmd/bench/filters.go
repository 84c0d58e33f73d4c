package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
)

const (
	// filterCandidates of one event, which is decoded once for all of them.
	filterCandidates = 1000
	filterEvents     = 200
	// mostPerFilter is what a candidate's filter may add, in microseconds.
	mostPerFilter = 2
)

// filters measures what a filter adds to a candidate, as the listener puts an event to it, in this process: figure j.
func (b *bench) filters(context.Context) error {
	own := make([]string, filterCandidates)
	for i := range own {
		own[i] = fmt.Sprintf(`data.total > %d.0 && data.currency == "EUR"`, i%100)
	}
	none, err := b.perCandidate(make([]string, filterCandidates))
	if err != nil {
		return err
	}
	with, err := b.perCandidate(own)
	if err != nil {
		return err
	}
	b.report.add(table{
		Figure: "j", Title: fmt.Sprintf("filters: one event, %d candidates", filterCandidates), Columns: []string{"µs per candidate"},
		Rows:  []row{{"types alone", []float64{none}}, {"and a filter", []float64{with}}},
		Notes: []string{own[0] + "; a hundred different ones; the event's data is decoded once, which is in the figure"},
	})
	b.report.atMost("j", "what a filter adds to a candidate, in µs", with-none, mostPerFilter)
	return nil
}

// perCandidate is the median over rounds, in microseconds.
func (b *bench) perCandidate(filters []string) (float64, error) {
	cache := expr.NewCache(len(filters))
	if err := filterOnce(cache, filters); err != nil { // compiles them
		return 0, err
	}
	rounds := make([]float64, b.rounds)
	for i := range rounds {
		start := time.Now()
		for range filterEvents {
			if err := filterOnce(cache, filters); err != nil {
				return 0, err
			}
		}
		rounds[i] = float64(time.Since(start).Nanoseconds()) / 1e3 / filterEvents / float64(len(filters))
	}
	return median(rounds), nil
}

// filterOnce puts an event, not decoded yet, to candidates, all of which want it.
func filterOnce(cache *expr.Cache, filters []string) error {
	e := event.New()
	e.SetID("1")
	e.SetSource("/bench")
	e.SetType("order.created")
	e.DataEncoded = []byte(`{"id":"4711","total":250.0,"currency":"EUR","customer":{"name":"Zoë"},"lines":[{"sku":"a","count":1}]}`)
	vars, types := expr.NewVars(&e), []string{"order.*"}
	for _, text := range filters {
		wanted := contract.MatchesType(types, e.Type())
		if text != "" && wanted {
			filter, err := cache.Filter(text)
			if err != nil {
				return fmt.Errorf("compiling a filter: %w", err)
			}
			if wanted, err = filter.Match(vars); err != nil {
				return fmt.Errorf("putting an event to a filter: %w", err)
			}
		}
		if !wanted {
			return fmt.Errorf("%q does not match", text)
		}
	}
	return nil
}
