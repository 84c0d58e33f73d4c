package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// statistics are the calls on how things went over time.
type statistics struct {
	store *store.Store
	now   func() time.Time
}

const statsDescription = "Attempts by the step of time in which they ended, with about how long they took, the oldest first; also steps in which " +
	"nothing happened. The last step is a few seconds behind. Steps that are not whole hours go back 48 hours, others 14 days."

func (s statistics) register(api huma.API) {
	own := operation("get-subscription-stats", http.MethodGet, pathSubscription+"/stats", "How a subscription's callbacks went over time", http.StatusNotFound)
	own.Description = statsDescription
	register(api, own, s.own)
	all := operation("get-stats", http.MethodGet, "/admin/v1/stats", "How events and callbacks went over time, of a resource or all of them", http.StatusNotFound)
	all.Description = statsDescription
	register(api, all, s.all)
}

// Span is a time in steps.
type Span struct {
	Since time.Time `query:"since" doc:"a day before until unless set"`
	Until time.Time `query:"until" doc:"now unless set"`
	Step  string    `query:"step" doc:"how much time each point has: a multiple of 5m, 24h at most. 5m unless set, or 1h where since is longer ago than 48 hours" example:"1h"`
}

// mostStep is the longest step.
const mostStep = 24 * time.Hour

type statsBody struct {
	Step   contract.Duration    `json:"step"`
	Points []contract.StatPoint `json:"points"`
}

type statsAnswer struct{ Body statsBody }

// query reads a span.
func (s statistics) query(in Span) (store.StatsQuery, error) {
	now := s.now()
	q := store.StatsQuery{Since: in.Since, Until: in.Until, Step: contract.StatsFine}
	if q.Until.IsZero() || q.Until.After(now) {
		q.Until = now
	}
	if q.Since.IsZero() {
		q.Since = q.Until.Add(-24 * time.Hour)
	}
	if q.Since.Before(now.Add(-contract.StatsFineLife)) {
		q.Step = contract.StatsCoarse
	}
	if in.Step != "" {
		step, err := time.ParseDuration(in.Step)
		if err != nil || step <= 0 || step%contract.StatsFine != 0 || step > mostStep {
			return q, unprocessable(fault("query.step", "must be a multiple of 5m, 24h at most: write it as 5m, 30m or 1h"))
		}
		q.Step = step
	}
	life := contract.StatsFineLife
	if q.Step%contract.StatsCoarse == 0 {
		life = contract.StatsCoarseLife
	}
	if first := now.Add(-life); q.Since.Before(first) {
		q.Since = first
	}
	return q, nil
}

func (s statistics) read(ctx context.Context, q store.StatsQuery) (*statsAnswer, error) {
	points, err := s.store.Stats(ctx, q)
	if err != nil {
		return nil, err
	}
	return &statsAnswer{statsBody{contract.Duration(q.Step), points}}, nil
}

type ownStatsRequest struct {
	Own
	Span
}

func (s statistics) own(ctx context.Context, in *ownStatsRequest) (*statsAnswer, error) {
	sub, err := ownSubscription(ctx, s.store, in.ID)
	if err != nil {
		return nil, err
	}
	q, err := s.query(in.Span)
	if err != nil {
		return nil, err
	}
	q.Resource, q.Subscription = sub.Resource, sub.ID
	return s.read(ctx, q)
}

type statsRequest struct {
	Span
	Resource string `query:"resource" maxLength:"63" doc:"all of them unless set"`
}

func (s statistics) all(ctx context.Context, in *statsRequest) (*statsAnswer, error) {
	q, err := s.query(in.Span)
	if err != nil {
		return nil, err
	}
	if in.Resource != "" {
		if _, err := s.store.Resource(ctx, in.Resource); err != nil {
			return nil, err
		}
	}
	q.Resource = in.Resource
	return s.read(ctx, q)
}
