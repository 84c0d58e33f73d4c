package main

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

var whole = size{events: 20000, subscriptions: 50, faults: 28, rate: 400}

func TestTheSameSeedGivesTheSamePlan(t *testing.T) {
	require.Equal(t, makePlan(7, whole, 0.3, "run"), makePlan(7, whole, 0.3, "run"))
	require.NotEqual(t, makePlan(7, whole, 0.3, "run"), makePlan(8, whole, 0.3, "run"))
}

func TestEveryEventReachesOneToThreeSubscriptions(t *testing.T) {
	few := size{events: 1000, subscriptions: 50}
	for seed := range uint64(20) {
		p := makePlan(seed, few, 0.3, "run")
		reached := map[int]int{}
		for pair := range p.expected() {
			reached[pair.event]++
		}
		require.Len(t, reached, few.events)
		for event, n := range reached {
			require.True(t, n >= 1 && n <= mostPerSlot, "event %d reaches %d", event, n)
		}
	}
}

func TestASubscriptionAsksForItsSlotAlone(t *testing.T) {
	p := makePlan(7, whole, 0.3, "run")
	s := scene{plan: p, endpoints: &endpoints{}}
	for i, sub := range p.subscriptions {
		types, _ := s.wish(i, sub)["types"].([]string)
		for _, kind := range p.types {
			require.Equal(t, kind == p.kind(sub.slot), contract.MatchesType(types, kind))
		}
	}
}

func TestNoSubjectOfASlotIsTwiceInABatch(t *testing.T) {
	next := 0
	for _, batch := range makePlan(7, whole, 0.3, "run").batches {
		require.LessOrEqual(t, len(batch), batchSize)
		in := map[event]bool{}
		for _, e := range batch {
			require.Equal(t, next, e.number)
			next++
			key := event{slot: e.slot, subject: e.subject}
			require.False(t, in[key])
			in[key] = true
		}
	}
	require.Equal(t, whole.events, next)
}

func TestEveryPartIsKilledAndRestartedAndEveryLinkIsBadInEveryWay(t *testing.T) {
	for seed := range uint64(20) {
		var got []string
		for _, f := range makePlan(seed, size{events: 100, subscriptions: 2, faults: 28}, 0.3, "run").faults {
			got = append(got, f.String())
		}
		for _, part := range parts {
			require.Contains(t, got, kindKill+" "+part)
			if part != "runner" {
				require.Contains(t, got, kindRestart+" "+part)
			}
		}
		for _, link := range links {
			for _, kind := range []string{kindCut, kindStall, kindSlow} {
				require.Contains(t, got, kind+" "+link+" link")
			}
		}
	}
}

func TestAShortPlanStillBringsEveryPartDown(t *testing.T) {
	p := makePlan(3, size{events: 2000, subscriptions: 20, faults: 10}, 0.3, "run")
	require.Len(t, p.faults, 10)
	for _, part := range parts {
		require.True(t, slices.ContainsFunc(p.faults, func(f fault) bool { return f.target == part }), part)
	}
	require.True(t, slices.IsSortedFunc(p.faults, func(a, b fault) int { return a.at - b.at }))
	require.Less(t, p.faults[9].at, 2000)
}
