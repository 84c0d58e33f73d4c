package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// state is the admins' view of how the installation does.
type state struct {
	store  *store.Store
	queues Queues
	names  rabbit.Names
}

func (s state) register(api huma.API) {
	op := operation("list-breakers", http.MethodGet, "/admin/v1/breakers", "List the circuit breakers that are open, the oldest first")
	op.Description = "Each replica of the callback service has its own and reports within a second; the report of one that died holds for 15 s. " +
		"Up to 1,000 of each replica."
	register(api, op, s.breakers)
	register(api, operation("get-overview", http.MethodGet, "/admin/v1/overview", "How much waits, and what does not work"), s.overview)
}

type breakersRequest struct {
	Resource string `query:"resource" maxLength:"63"`
	Consumer string `query:"consumer" maxLength:"100"`
}

func (s state) breakers(ctx context.Context, in *breakersRequest) (*listAnswer[contract.Breaker], error) {
	all, err := s.store.Breakers(ctx)
	if err != nil {
		return nil, err
	}
	open := make([]contract.Breaker, 0, len(all))
	for _, b := range all {
		if (in.Resource == "" || in.Resource == b.Resource) && (in.Consumer == "" || in.Consumer == b.Consumer) {
			open = append(open, b)
		}
	}
	return &listAnswer[contract.Breaker]{listBody[contract.Breaker]{Items: open}}, nil
}

// overviewView counts.
type overviewView struct {
	Breakers    int          `json:"breakers_open" doc:"circuit breakers that are open, over all replicas"`
	DeadLetters int64        `json:"dead_letters" doc:"dead letters that are listed, about"`
	Queues      []queueDepth `json:"queues" nullable:"false"`
}

// queueDepth is how much waits in one of the broker's queues.
type queueDepth struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"`
	About    string `json:"about"`
}

type overviewAnswer struct{ Body overviewView }

func (s state) overview(ctx context.Context, _ *struct{}) (*overviewAnswer, error) {
	open, err := s.store.Breakers(ctx)
	if err != nil {
		return nil, err
	}
	view := overviewView{Breakers: len(open), Queues: []queueDepth{
		{Name: s.names.Events, About: "events that were published and not looked at"},
		{Name: s.names.Commands, About: "callbacks to make"},
		{Name: s.names.Bulk, About: "callbacks of events that very many want"},
		{Name: s.names.Replays, About: "replays to do"},
		{Name: s.names.Dead, About: "dead letters"},
	}}
	if view.DeadLetters, err = s.store.CountDead(ctx); err != nil {
		return nil, err
	}
	names := make([]string, len(view.Queues))
	for i, q := range view.Queues {
		names[i] = q.Name
	}
	depths, err := s.queues.Depths(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBroker, err)
	}
	for i, name := range names {
		view.Queues[i].Messages = depths[name]
	}
	return &overviewAnswer{view}, nil
}
