package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The short form of make chaos, on a stack of its own below this one's folder. CHAOS_SEED draws another plan.
func TestChaosLosesNothing(t *testing.T) {
	control(t)
	if testing.Short() {
		t.Skip("takes most of a minute")
	}
	scripts := filepath.Dir(os.Getenv("E2E_STACK"))
	tool := filepath.Join(filepath.Dir(scripts), "bin", "chaos")
	require.FileExists(t, tool, "make build makes it")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(scripts, "with-stack.sh"), "infra", filepath.Join(os.Getenv("RUN_DIR"), "chaos"),
		tool, "-short", "-json", "-", "-seed", cmp.Or(os.Getenv("CHAOS_SEED"), "1"))
	cmd.Env = withoutThisStack(os.Environ())
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it takes its stack down
	cmd.WaitDelay = time.Minute
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, &said)
	var account struct {
		OK                                           bool
		Expected, Delivered, Lost, Duplicates, Calls int
	}
	require.NoError(t, json.Unmarshal(out, &account), "%s", out)
	require.True(t, account.OK)
	require.Zero(t, account.Lost)
	require.Equal(t, account.Expected, account.Delivered)
	t.Logf("%+v", account)
}

// withoutThisStack keeps the other stack from taking this one's servers for its own.
func withoutThisStack(environ []string) []string {
	return slices.DeleteFunc(environ, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "REDIS_URL" || name == "AMQP_URL" || name == "RUN_DIR" || strings.HasPrefix(name, "E2E_")
	})
}
