// Package command is the command line: what the commands are called, what they take, and how they answer.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

// System is what the command line stands on.
type System struct {
	In       io.Reader
	Out, Err io.Writer
	// Environ is the environment, as KEY=value.
	Environ []string
	// Dir is the current directory; "" for the process's own.
	Dir string
	// ConfigFile is the absolute path of the contexts file; "" for none.
	ConfigFile string
	// InTerminal, OutTerminal and ErrTerminal say where a person sits.
	InTerminal, OutTerminal, ErrTerminal bool
	// Now is the clock.
	Now func() time.Time
}

// app is one run of the command line.
type app struct {
	System
	flags    flags
	settings settings.Settings
	print    *output.Printer
	prepared bool // the command line was read without a fault
}

// Main runs one command line and returns the code to exit with.
func Main(ctx context.Context, system System, args []string) int {
	a := &app{System: system}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.prepared && exit.Of(err) == exit.Failed {
		err = exit.With(exit.Usage, err)
	}
	a.tell(err)
	return int(exit.Of(err))
}

// errSilent is for a command that has said by itself what is wrong.
var errSilent = errors.New("said already")

// tell says what went wrong, the faults of fields on lines of their own.
func (a *app) tell(err error) {
	if err == nil || errors.Is(err, errSilent) {
		return
	}
	var problem *client.Problem
	errors.As(err, &problem)
	if a.flags.output == string(output.JSON) {
		p := &output.Printer{Out: a.Err, Format: output.JSON}
		_ = p.Value(map[string]any{"error": errorView(err, problem)}) // nobody left to tell
		return
	}
	_, _ = fmt.Fprintf(a.Err, "webhookctl: %s\n", output.Clean(err.Error()))
	if problem != nil {
		for _, f := range problem.Errors {
			_, _ = fmt.Fprintf(a.Err, "  %s: %s\n", output.Clean(f.Location), output.Clean(f.Message))
		}
	}
	if exit.Of(err) == exit.Usage {
		_, _ = fmt.Fprintln(a.Err, "see webhookctl help, or --help after a command")
	}
}

func errorView(err error, problem *client.Problem) map[string]any {
	view := map[string]any{"exit_code": exit.Of(err), "message": err.Error()}
	if problem != nil {
		view["problem"] = problem
	}
	return view
}

// usage is an error of the command line.
func usage(format string, args ...any) error {
	return exit.With(exit.Usage, fmt.Errorf(format, args...))
}

// run is a command's own code; it has its arguments and the context.
type run func(cmd *cobra.Command, args []string) error

// group is a command that only has others.
func group(name, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(children...)
	return cmd
}
