package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
)

// helper makes the test binary a service, for the tests of Main.
const helper = "SERVICE_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helper) != "" {
		Main(Process[helperConfig]{
			Name: "helper", HealthAddress: func(c helperConfig) string { return c.Listen },
			Start: func(_ context.Context, c helperConfig, app *App) error {
				if c.Fail {
					return errors.New("as asked")
				}
				_, err := app.Listen("health", c.Listen, app.Handler())
				return err
			},
		})
		return
	}
	goleak.VerifyTestMain(m)
}

type helperConfig struct {
	Listen string        `env:"HELPER_LISTEN" envDefault:"127.0.0.1:0"`
	Secret string        `env:"HELPER_SECRET,required,notEmpty"`
	Wait   time.Duration `env:"HELPER_WAIT" envDefault:"1s"`
	Fail   bool          `env:"HELPER_FAIL"`
}

func TestStopIsLastInFirstOut(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	var order []string
	stop := func(name string, err error) {
		app.OnStop(name, func(context.Context) error { order = append(order, name); return err })
	}
	stop("store", errors.New("stuck"))
	app.Go("task", func(ctx context.Context) error {
		<-ctx.Done()
		order = append(order, "task")
		return ctx.Err()
	})
	stop("listener", errors.New("busy"))
	err := app.Stop(time.Second)
	require.Equal(t, []string{"listener", "task", "store"}, order)
	require.ErrorContains(t, err, "stopping listener: busy")
	require.ErrorContains(t, err, "stopping store: stuck")
	require.NoError(t, app.Stop(time.Second), "there is nothing left to stop")
}

func TestStopNamesWhatDoesNotEnd(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	release := make(chan struct{})
	ended := make(chan struct{})
	app.Go("sleeper", func(context.Context) error { defer close(ended); <-release; return nil })
	err := app.Stop(10 * time.Millisecond)
	require.ErrorContains(t, err, "sleeper")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(release)
	<-ended
}

func TestWait(t *testing.T) {
	broken := errors.New("broken")
	app := New(zaptest.NewLogger(t))
	app.Go("first", func(context.Context) error { return broken })
	err := app.Wait(context.Background())
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "first")
	require.NoError(t, app.Stop(time.Second))

	app = New(zaptest.NewLogger(t))
	app.Go("quiet", func(context.Context) error { return nil }) // an end without an error is no failure
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(t, app.Wait(ctx))
	require.NoError(t, app.Stop(time.Second))
}

func TestHealth(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	var down atomic.Bool
	app.Health.Check("redis", func(context.Context) error {
		if down.Load() {
			return errors.New("connection refused")
		}
		return nil
	})
	server, err := app.Listen("health", "127.0.0.1:0", app.Handler())
	require.NoError(t, err)
	status, body := get(t, server, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"process":"ok","redis":"ok"}`, body)
	down.Store(true)
	status, body = get(t, server, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.JSONEq(t, `{"process":"ok","redis":"connection refused"}`, body)
	status, _ = get(t, server, "/healthz")
	require.Equal(t, http.StatusOK, status, "a dependency that is down is no reason to restart the process")
	_, body = get(t, server, "/metrics")
	require.Contains(t, body, "go_goroutines")
	status, _ = get(t, server, "/nothing")
	require.Equal(t, http.StatusNotFound, status)
	require.Error(t, healthcheck(server))
	down.Store(false)
	require.NoError(t, healthcheck(server))

	answers := map[string]string{}
	app.OnStop("look", func(ctx context.Context) error { // stops first: the server still answers
		_, body := get(t, server, "/readyz")
		return json.Unmarshal([]byte(body), &answers)
	})
	require.NoError(t, app.Stop(5*time.Second))
	require.Equal(t, "is stopping", answers["process"])
	require.Error(t, healthcheck(server))
}

func TestSlowDependencyHoldsUpNobody(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	asked := make(chan struct{}, 2)
	app.Health.Check("slow", func(ctx context.Context) error { asked <- struct{}{}; <-ctx.Done(); return ctx.Err() })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan map[string]string, 2)
	for range 2 {
		go func() { done <- app.Health.ask(ctx) }()
	}
	<-asked
	<-asked // both at a time
	cancel()
	require.Contains(t, <-done, "slow")
	require.Contains(t, <-done, "slow")
}

func TestListenOnATakenPort(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	address, err := app.Listen("one", "127.0.0.1:0", app.Handler())
	require.NoError(t, err)
	_, err = app.Listen("two", address, app.Handler())
	require.ErrorContains(t, err, "two")
	require.NoError(t, app.Stop(time.Second))
}

func TestEnvironmentReportsAllFaultsWithoutValues(t *testing.T) {
	t.Setenv("HELPER_WAIT", "s3cr3t")
	t.Setenv("HELPER_FAIL", "s3cr3t")
	t.Setenv("HELPER_SECRET", "")
	t.Setenv("WEBHOOK_LOG_LEVEL", "s3cr3t")
	t.Setenv("WEBHOOK_SHUTDOWN_TIMEOUT", "s3cr3t")
	_, _, err := environments[helperConfig]()
	for _, name := range []string{"HELPER_WAIT", "HELPER_FAIL", "HELPER_SECRET", "WEBHOOK_LOG_LEVEL", "WEBHOOK_SHUTDOWN_TIMEOUT"} {
		require.ErrorContains(t, err, name)
	}
	require.NotContains(t, err.Error(), "s3cr3t")
	require.NotContains(t, err.Error(), "\n")
}

func TestAServerWithoutConnectionsIsRefused(t *testing.T) {
	t.Setenv("HELPER_SECRET", "x")
	t.Setenv("WEBHOOK_MAX_CONNECTIONS", "0")
	_, _, err := environments[helperConfig]()
	require.ErrorContains(t, err, "WEBHOOK_MAX_CONNECTIONS")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("HELPER_SECRET", "x")
	config, common, err := environments[helperConfig]()
	require.NoError(t, err)
	require.Equal(t, helperConfig{"127.0.0.1:0", "x", time.Second, false}, config)
	require.Equal(t, base{LogLevel: zap.InfoLevel, ShutdownTimeout: 20 * time.Second, MaxConnections: 10_000}, common)
}

func TestMainRunsUntilSIGTERM(t *testing.T) {
	cmd, output := start(t, "HELPER_SECRET=x")
	require.Eventually(t, func() bool { return strings.Contains(output.String(), `"started"`) }, 10*time.Second, 10*time.Millisecond)
	line := output.String()[strings.Index(output.String(), `"address":"`)+len(`"address":"`):]
	address, _, _ := strings.Cut(line, `"`)
	check := exec.Command(os.Args[0], "healthcheck")
	check.Env = append(os.Environ(), helper+"=1", "HELPER_SECRET=x", "HELPER_LISTEN="+address)
	require.NoError(t, check.Run())
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
	require.Contains(t, output.String(), `"stopping"`)
	check = exec.Command(os.Args[0], "healthcheck")
	check.Env = append(os.Environ(), helper+"=1", "HELPER_SECRET=x", "HELPER_LISTEN="+address)
	require.Error(t, check.Run())
}

func TestMainSaysWhyItFails(t *testing.T) {
	for name, c := range map[string]struct{ env, says string }{
		"a fault of the environment": {"HELPER_SECRET=", "HELPER_SECRET"},
		"a start that fails":         {"HELPER_FAIL=true", "as asked"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, output := start(t, "HELPER_SECRET=x", c.env)
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, output.String(), c.says)
		})
	}
}

func start(t *testing.T, env ...string) (*exec.Cmd, *output) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helper+"=1"), env...)
	out := &output{}
	cmd.Stderr = out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

// output is a buffer that grows while it is read.
type output struct{ text atomic.Pointer[string] }

func (o *output) Write(p []byte) (int, error) {
	text := o.String() + string(bytes.Clone(p))
	o.text.Store(&text)
	return len(p), nil
}

func (o *output) String() string {
	if text := o.text.Load(); text != nil {
		return *text
	}
	return ""
}

func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestAnAnswerThatStaysOpenIsToldThatTheServerStops(t *testing.T) {
	app := New(zaptest.NewLogger(t))
	begun := make(chan struct{})
	address, err := app.Listen("door", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "began")
		close(begun)
		<-Stopping(r.Context())
		_, _ = io.WriteString(w, ", ended")
	}))
	require.NoError(t, err)
	said := make(chan string, 1)
	go func() { _, body := get(t, address, "/"); said <- body }()
	<-begun
	require.NoError(t, app.Stop(10*time.Second))
	require.Equal(t, "began, ended", <-said)
	require.Nil(t, Stopping(context.Background()))
}
