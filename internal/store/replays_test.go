package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

func replay(id string) contract.Replay {
	return contract.Replay{
		ID: id, Subscription: "sub_1", Resource: "orders", Since: start, Until: start.Add(time.Hour), Status: contract.DeliveryFailed,
		State: contract.ReplayRunning, CreatedAt: start, UpdatedAt: start,
	}
}

func TestReplays(t *testing.T) {
	s, worker := pair(t)
	first := replay("rpl_1")
	got, created, err := s.CreateReplay(ctx, first)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, first, got)
	got, err = worker.Replay(ctx, "sub_1", "rpl_1")
	require.NoError(t, err)
	require.Equal(t, first, got)
	_, err = worker.Replay(ctx, "sub_2", "rpl_1")
	require.ErrorIs(t, err, ErrNotFound, "it is another subscription's")

	first.Next, first.Scanned, first.Sent = 700, 70, 7
	require.NoError(t, worker.SaveReplay(ctx, first))
	got, created, err = s.CreateReplay(ctx, replay("rpl_2"))
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, first, got, "the one that runs, as far as it is")
	_, err = s.Replay(ctx, "sub_1", "rpl_2")
	require.ErrorIs(t, err, ErrNotFound)

	first.State = contract.ReplayDone
	require.NoError(t, worker.SaveReplay(ctx, first))
	second := replay("rpl_2")
	_, created, err = s.CreateReplay(ctx, second)
	require.NoError(t, err)
	require.True(t, created, "the one before is done")
	require.NoError(t, worker.SaveReplay(ctx, first)) // late
	got, created, err = s.CreateReplay(ctx, replay("rpl_3"))
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, second, got, "the end of another does not end it")
	life, err := s.rdb.TTL(ctx, s.key.replay("sub_1", "rpl_1")).Result()
	require.NoError(t, err)
	require.InDelta(t, replayLife.Hours(), life.Hours(), 1)
}

func TestReplaysThatAskForSomethingElse(t *testing.T) {
	s := open(t)
	changes := map[string]func(*contract.Replay){
		"nothing":      func(*contract.Replay) {},
		"subscription": func(r *contract.Replay) { r.Subscription = "sub_2" },
		"since":        func(r *contract.Replay) { r.Since = r.Since.Add(1) },
		"until":        func(r *contract.Replay) { r.Until = r.Until.Add(1) },
		"status":       func(r *contract.Replay) { r.Status = "" },
		"delivery":     func(r *contract.Replay) { r.Delivery = "dlv_1" },
	}
	for name, change := range changes {
		r := replay("rpl_" + name)
		change(&r)
		_, created, err := s.CreateReplay(ctx, r)
		require.NoError(t, err)
		require.True(t, created, name)
	}
	r := replay("rpl_same")
	r.Since, r.CreatedAt = r.Since.In(time.FixedZone("", 3600)), r.CreatedAt.Add(time.Hour)
	kept, created, err := s.CreateReplay(ctx, r)
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, "rpl_nothing", kept.ID)
}

func TestOneOfManyReplaysAtATimeIsKept(t *testing.T) {
	s, other := pair(t)
	var kept atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		from := []*Store{s, other}[i%2]
		wg.Go(func() {
			_, created, err := from.CreateReplay(ctx, replay(contract.NewID("rpl")))
			if err != nil {
				t.Error(err)
			}
			if created {
				kept.Add(1)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, kept.Load())
}
