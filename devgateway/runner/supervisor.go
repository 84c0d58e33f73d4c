// Package runner starts the plugin runner, starts it again when it dies, and stops it.
package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Options say how to run a runner.
type Options struct {
	Command      []string
	Env          []string
	Socket       string        // where it listens; removed when it is gone
	RespawnDelay time.Duration // after it died
	StopTimeout  time.Duration // between SIGTERM and SIGKILL
	OnExit       func()        // called each time it is gone, before it is started again
	Log          *zap.Logger
}

// Supervisor keeps one runner alive.
type Supervisor struct {
	Options
	pid     atomic.Int64
	restart chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
}

// Start starts the runner. It fails where the first start fails; later ones are tried again.
func Start(opts Options) (*Supervisor, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Supervisor{Options: opts, restart: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	started := make(chan error)
	go s.run(ctx, started)
	if err := <-started; err != nil {
		cancel()
		<-s.done
		return nil, err
	}
	return s, nil
}

// Stop terminates the runner, kills it when it takes longer than StopTimeout, and returns when it is gone.
func (s *Supervisor) Stop() {
	s.cancel()
	<-s.done
}

// Restart replaces the runner by a new one at once, as a reload of nginx does.
func (s *Supervisor) Restart() {
	select {
	case s.restart <- struct{}{}:
	default:
	}
}

// PID is the process id of the runner, 0 while there is none.
func (s *Supervisor) PID() int { return int(s.pid.Load()) }

// Ready waits until the runner's socket accepts.
func (s *Supervisor) Ready(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", s.Socket)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the runner's socket: %w", errors.Join(ctx.Err(), err))
		case <-s.done:
			return errors.New("the runner was stopped")
		case <-tick.C:
		}
	}
}

// run is the life of all runners. It keeps its thread: the kernel kills a child with a death signal when the thread
// that started it ends.
func (s *Supervisor) run(ctx context.Context, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(s.done)
	p, err := s.spawn()
	started <- err
	for {
		delay := s.RespawnDelay
		if err == nil {
			delay = s.watch(ctx, p)
		}
		if ctx.Err() != nil || !sleep(ctx, delay) {
			return
		}
		if p, err = s.spawn(); err != nil {
			s.Log.Error("the runner did not start", zap.Error(err))
		}
	}
}

// watch waits for the end of a runner and says how long to wait before the next.
func (s *Supervisor) watch(ctx context.Context, p *process) time.Duration {
	delay := s.RespawnDelay
	select {
	case <-p.exited:
		s.Log.Warn("the runner exited", zap.Stringer("state", p.cmd.ProcessState), zap.Duration("respawn_in", delay))
	case <-s.restart:
		delay = 0
		p.stop(s.StopTimeout)
	case <-ctx.Done():
		p.stop(s.StopTimeout)
	}
	s.pid.Store(0)
	_ = os.Remove(s.Socket)
	s.OnExit()
	return delay
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// outputWait is how long the output of a dead runner may be held open by a child of its own.
const outputWait = time.Second

func (s *Supervisor) spawn() (*process, error) {
	cmd := exec.CommandContext(context.Background(), s.Command[0], s.Command[1:]...) // stop ends it, with SIGTERM first
	cmd.Env = s.Env
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = outputWait
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the runner %s: %w", s.Command[0], err)
	}
	s.pid.Store(int64(cmd.Process.Pid))
	p := &process{cmd: cmd, exited: make(chan struct{})}
	logged := make(chan struct{})
	go func() { defer close(logged); s.logLines(out) }()
	go func() {
		_ = cmd.Wait() // the state says it all
		_ = in.Close()
		<-logged
		close(p.exited)
	}()
	return p, nil
}

// logLines passes the output of the runner on, as APISIX does: into its error log, at warn.
func (s *Supervisor) logLines(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 4096), 1<<20)
	for lines.Scan() {
		s.Log.Warn("runner", zap.String("output", lines.Text()))
	}
	_, _ = io.Copy(io.Discard, out) // a line beyond the buffer must not block the runner
}

func (p *process) stop(timeout time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}
