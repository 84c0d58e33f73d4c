package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ErrNoControl says that the stack is not ours to break.
var ErrNoControl = errors.New("E2E_STACK is not set: this stack is not ours to break")

// Control drives a stack's processes with the project's own scripts/stack.sh.
type Control struct {
	// Script is the path of stack.sh.
	Script string
	// Env is the script's environment; RUN_DIR in it names the stack. Nil: this process's own.
	Env []string
}

// NewControl returns the control that scripts/with-stack.sh hands on, or ErrNoControl.
func NewControl() (Control, error) {
	script := os.Getenv("E2E_STACK")
	if script == "" || os.Getenv("RUN_DIR") == "" {
		return Control{}, ErrNoControl
	}
	return Control{Script: script}, nil
}

// With returns the control with more settings, each KEY=value.
func (c Control) With(settings ...string) Control {
	if c.Env == nil {
		c.Env = os.Environ()
	}
	c.Env = append(slices.Clip(c.Env), settings...)
	return c
}

// Command is a verb of the script that has not been started.
func (c Control) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Script, args...) // #nosec G204 -- the project's own script
	cmd.Env = c.Env
	return cmd
}

// Do runs a verb of the script. Its error holds what the script said.
func (c Control) Do(ctx context.Context, args ...string) error {
	if out, err := c.Command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("stack.sh %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
