package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain makes this test binary the command itself when it is started as that.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "devgateway" {
		os.Args = os.Args[1:]
		main()
		return
	}
	os.Exit(m.Run())
}

// command is the command on the files of the repository.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"devgateway", "-conf", "../apisix-conf"}, args...)...)
	cmd.Env = append(env, "PATH="+os.Getenv("PATH"), "TMPDIR="+os.TempDir(), "GORACE=atexit_sleep_ms=0",
		"WEBHOOK_GATEWAY_PORT=0", "WEBHOOK_GATEWAY_METRICS_PORT=0")
	return cmd
}

type line struct {
	Msg     string `json:"msg"`
	Address string `json:"address"`
	Metrics string `json:"metrics"`
	Runner  int    `json:"runner_pid"`
}

// begin starts the command with the real runner and waits for the line that says so.
func begin(t *testing.T, runDir string) (*exec.Cmd, line) {
	t.Helper()
	runner := filepath.Join(t.TempDir(), "webhook-runner")
	build := exec.Command("go", "build", "-o", runner, ".")
	build.Dir = "../plugins"
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := command(t, []string{"WEBHOOK_RUNNER=" + runner, "WEBHOOK_EGRESS=127.0.0.1:0"}, "-run-dir", runDir)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "listening" {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return cmd, l
		}
		t.Log(lines.Text())
	}
	t.Fatal("it ended before it listened")
	return nil, line{}
}

// gone says whether a process has ended, be it that nobody has collected it yet.
func gone(pid int) func() bool {
	return func() bool {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return true
		}
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		return err == nil && strings.Contains(string(stat), ") Z ")
	}
}

func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dg-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestRunAndTerminate(t *testing.T) {
	dir := runDir(t)
	cmd, l := begin(t, dir)
	for _, url := range []string{"http://" + l.Address + "/nowhere", "http://" + l.Metrics + "/apisix/prometheus/metrics"} {
		res, err := http.Get(url)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
	}
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait(), "it exits with 0")
	require.True(t, gone(l.Runner)(), "and the runner went before it")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestKilledGatewayTakesTheRunnerAlong(t *testing.T) {
	cmd, l := begin(t, runDir(t))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, gone(l.Runner), 10*time.Second, 5*time.Millisecond)
}

func TestFaultsAreTold(t *testing.T) {
	tests := map[string]struct {
		env  []string
		args []string
		want string
	}{
		"no configuration": {nil, []string{"-conf", "/does/not/exist"}, "config.yaml"},
		"no runner":        {[]string{"WEBHOOK_RUNNER=/does/not/exist"}, nil, "/does/not/exist"},
		"log level":        {[]string{"WEBHOOK_LOG_LEVEL=loud"}, nil, "WEBHOOK_LOG_LEVEL"},
		"flag":             {nil, []string{"-nonsense"}, "nonsense"},
		"long run-dir":     {nil, []string{"-run-dir", filepath.Join(os.TempDir(), "a-path-that-is-longer-than-a-unix-socket-may-have-on-all-systems-where-this-runs")}, "shorter run directory"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := command(t, tc.env, tc.args...).CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, 1, exit.ExitCode())
			assert.Contains(t, string(out), tc.want)
		})
	}
}
