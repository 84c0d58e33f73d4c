package runner

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, delay time.Duration, script string) (*Supervisor, *observer.ObservedLogs, chan struct{}) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	exits := make(chan struct{}, 100)
	s, err := Start(Options{
		Command: []string{"/bin/sh", "-c", script}, Socket: filepath.Join(t.TempDir(), "s"), RespawnDelay: delay,
		StopTimeout: 10 * time.Second, OnExit: func() { exits <- struct{}{} }, Log: zap.New(core),
	})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s, logs, exits
}

func TestOutputIsLogged(t *testing.T) {
	s, logs, exits := start(t, time.Hour, "echo one; echo two >&2; printf three")
	<-exits
	var lines []string
	for _, e := range logs.FilterMessage("runner").All() {
		lines = append(lines, e.ContextMap()["output"].(string))
	}
	assert.Equal(t, "one two three", strings.Join(lines, " "))
	assert.Zero(t, s.PID())
	assert.Equal(t, 1, logs.FilterMessage("the runner exited").Len())
}

func TestDeadRunnerIsStartedAgain(t *testing.T) {
	_, _, exits := start(t, time.Millisecond, "exit 3")
	for range 3 {
		<-exits
	}
}

func TestStop(t *testing.T) {
	s, _, exits := start(t, time.Hour, "while :; do sleep 0.01; done")
	pid := s.PID()
	s.Stop()
	<-exits
	assert.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	s.Stop() // again is harmless
}

func TestStopWhileWaitingToRespawn(t *testing.T) {
	s, _, exits := start(t, time.Hour, "exit 0")
	<-exits
	s.Stop()
}

func TestReadyGivesUp(t *testing.T) {
	s, _, _ := start(t, time.Hour, "exit 0")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Ready(ctx), context.DeadlineExceeded)
	s.Stop()
	require.ErrorContains(t, s.Ready(context.Background()), "stopped")
}

func TestCommandThatIsNotThere(t *testing.T) {
	_, err := Start(Options{Command: []string{"/does/not/exist"}, OnExit: func() {}, Log: zap.NewNop()})
	require.ErrorContains(t, err, "/does/not/exist")
}
