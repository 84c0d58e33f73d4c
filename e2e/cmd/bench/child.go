package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is a helper in a process of its own. Its settings come over standard input, where no other user of the machine
// reads the keys, and it ends when that is closed: also when this process dies.
type child struct {
	cmd *exec.Cmd
	in  io.Closer
}

// startChild starts this program in a role, and decodes what it says when it is ready.
func startChild(role string, config, ready any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self, role) //nolint:gosec,noctx // this very program; it ends by its input
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return nil, fmt.Errorf("starting the %s: %w", role, err)
	}
	c := &child{cmd, in}
	if err := errors.Join(json.NewEncoder(in).Encode(config), json.NewDecoder(out).Decode(ready)); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the %s: %w", role, err), c.stop())
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) stop() error {
	_ = c.in.Close()
	kill := time.AfterFunc(10*time.Second, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("stopping a helper: %w", err)
	}
	return nil
}

// readConfig is the child's side: the settings, and a context that ends with the input.
func readConfig(ctx context.Context, config any) (context.Context, error) {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	if err := json.Unmarshal(line, config); err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	return ctx, nil
}

func sayReady(what any) error { return json.NewEncoder(os.Stdout).Encode(what) }
