package store

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

func TestTheStoreTellsOfItsTrafficAndHowFullRedisIs(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Ping(ctx))
	m := NewMemory(s)
	require.Zero(t, testutil.CollectAndCount(m), "it is not known yet")
	require.NoError(t, m.look(ctx))

	registry := prometheus.NewRegistry()
	registry.MustRegister(s, m)
	families := gather(t, registry)
	require.EqualValues(t, 4, families["webhook_redis_commands_total"])
	require.Zero(t, families["webhook_mailbox_messages"])
	require.Zero(t, families["webhook_redis_errors_total"])
	require.Positive(t, families["webhook_redis_dials_total"])
	require.Positive(t, families["webhook_redis_memory_used_bytes"])
	require.Greater(t, families["webhook_redis_memory_limit_bytes"], families["webhook_redis_memory_used_bytes"])
	faults, err := metrics.Lint(registry)
	require.NoError(t, err)
	require.Empty(t, faults)

	require.Error(t, s.rdb.Do(ctx, "no-such-command").Err())
	require.EqualValues(t, 1, gather(t, registry)["webhook_redis_errors_total"])

	for _, sub := range []string{"sub_1", "sub_2"} {
		require.NoError(t, s.rdb.ZAdd(ctx, s.key.mailboxes(), redis.Z{Score: 1, Member: sub}).Err())
		require.NoError(t, s.rdb.ZAdd(ctx, s.key.mailbox(sub), redis.Z{Score: 1, Member: "dlv_1"}, redis.Z{Score: 2, Member: "dlv_2"}).Err())
	}
	require.NoError(t, m.look(ctx))
	families = gather(t, registry)
	require.EqualValues(t, 2, families["webhook_mailboxes"])
	require.EqualValues(t, 4, families["webhook_mailbox_messages"])
}

func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	all, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			values[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestALimitOfItsOwnIsWhatCounts(t *testing.T) {
	info := "# Memory\r\nused_memory:100\r\nused_memory_human:100B\r\ntotal_system_memory:2000\r\nmaxmemory:%\r\n"
	require.Equal(t, &fullness{used: 100, limit: 2000}, fullnessOf(strings.ReplaceAll(info, "%", "0")))
	require.Equal(t, &fullness{used: 100, limit: 500}, fullnessOf(strings.ReplaceAll(info, "%", "500")))
}

func TestWithoutRedisThereIsNoOldFigure(t *testing.T) {
	s, err := Open(Options{URL: "redis://127.0.0.1:1/0", Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	defer s.Close()
	m := NewMemory(s)
	m.last.Store(&fullness{used: 1, limit: 2})
	require.Error(t, m.look(ctx))
	require.Zero(t, testutil.CollectAndCount(m))
	require.NotZero(t, s.exchanged.failed.Load())
	stopped := t.Context()
	done := make(chan error, 1)
	go func() { done <- m.Run(stopped, zaptest.NewLogger(t)) }()
	t.Cleanup(func() { require.NoError(t, <-done) })
}
