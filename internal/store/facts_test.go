package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

func TestRedisTellsAboutItself(t *testing.T) {
	s, err := Open(Options{URL: testkit.Redis(t), Namespace: testkit.Namespace(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	f, err := s.Facts(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, f.Version)
	require.Equal(t, "master", f.Role)
	require.Positive(t, f.Latency)
	require.Positive(t, f.UsedMemory)
	require.NotEmpty(t, f.Policy)
	require.Less(t, f.Ahead.Abs(), time.Minute, "it is on this machine")
}

func TestFactsAreReadFromINFO(t *testing.T) {
	var f Facts
	f.read("# Server\r\nredis_version:7.0.15\r\nrole:slave\r\nused_memory:10\r\nmaxmemory:20\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\naof_last_write_status:err\r\n")
	require.Equal(t, Facts{Version: "7.0.15", Role: "slave", UsedMemory: 10, MaxMemory: 20, Policy: "allkeys-lru", AppendOnly: true, SaveFailed: "aof_last_write_status is err"}, f)
}
