// Command webhookctl is the command line of apisix-webhooks, for admins, producers and consumers.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/command"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, cancel) // a second signal ends the process at once
	os.Exit(command.Main(ctx, command.System{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), ConfigFile: configFile(), Now: time.Now,
		InTerminal: isTerminal(os.Stdin), OutTerminal: isTerminal(os.Stdout), ErrTerminal: isTerminal(os.Stderr),
	}, os.Args[1:]))
}

func isTerminal(file *os.File) bool { return term.IsTerminal(int(file.Fd())) } // #nosec G115 -- a descriptor is small

// configFile is where contexts are kept; "" where there is no place for it.
func configFile() string {
	if named := os.Getenv("WEBHOOKCTL_CONFIG"); named != "" {
		absolute, err := filepath.Abs(named)
		if err != nil {
			return ""
		}
		return absolute
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "apisix-webhooks", "contexts.yaml")
}
