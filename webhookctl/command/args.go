package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// own is one of the caller's subscriptions, as a command line names it.
type own struct{ resource, id string }

// subscriptionUse is how commands name a subscription; the two may also be one argument: orders/sub_…
const subscriptionUse = "RESOURCE SUBSCRIPTION"

// ownArgs takes the subscription off the arguments: orders sub_…, orders/sub_…, or the path that the API gives.
func ownArgs(args []string) (own, []string, error) {
	if len(args) == 0 {
		return own{}, nil, usage("name the subscription: %s", subscriptionUse)
	}
	if parts := strings.Split(strings.TrimPrefix(args[0], "/"), "/"); len(parts) > 1 {
		o := own{parts[0], parts[len(parts)-1]}
		if o.resource == "" || o.id == "" || len(parts) > 3 || len(parts) == 3 && parts[1] != "subscribe" {
			return own{}, nil, usage("%s names no subscription: write it as orders/sub_…", args[0])
		}
		return o, args[1:], nil
	}
	if len(args) < 2 {
		return own{}, nil, usage("name the subscription: %s", subscriptionUse)
	}
	return own{args[0], args[1]}, args[2:], nil
}

// onOwn is a command on a subscription with some more arguments, by name.
func onOwn(do func(cmd *cobra.Command, sub own, rest []string) error, more ...string) run {
	return func(cmd *cobra.Command, args []string) error {
		sub, rest, err := ownArgs(args)
		switch {
		case err != nil:
			return err
		case len(rest) < len(more):
			return usage("%s is missing: %s", more[len(rest)], cmd.UseLine())
		case len(rest) > len(more):
			return usage("%s is too much: %s", rest[len(more)], cmd.UseLine())
		}
		return do(cmd, sub, rest)
	}
}

// moment reads a time: RFC 3339, a day, or how long ago, as 90m or 7d.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if at, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 {
			return now.Add(-time.Duration(n * float64(24*time.Hour))), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, usage("--%s %s: give how long ago, as 90m or 7d, a day as 2026-01-31, or a time as 2026-01-31T12:00:00Z", flag, text)
}

// moments puts times of flags, where they are given, as RFC 3339 into a query or body.
func (a *app) moments(put func(name, value string), given map[string]string) error {
	for name, text := range given {
		if text == "" {
			continue
		}
		at, err := moment(name, text, a.Now())
		if err != nil {
			return err
		}
		put(name, at.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// open opens a file; - is stdin.
func (a *app) open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.In), nil
	}
	file, err := os.Open(a.path(path)) // #nosec G304 -- the caller's own file
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return file, nil
}

// mostFile bounds the files of resources and subscriptions, in bytes.
const mostFile = 16 << 20

func (a *app) readFile(path string) ([]byte, error) {
	file, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, mostFile))
	if err != nil {
		return nil, exit.With(exit.Usage, fmt.Errorf("reading %s: %w", path, err))
	}
	return text, nil
}

// asJSON makes JSON of JSON, which stays as it is, or YAML.
func asJSON(path string, text []byte) (json.RawMessage, error) {
	if json.Valid(text) {
		return text, nil
	}
	made, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, usage("%s is neither JSON nor YAML: %v", path, err)
	}
	return made, nil
}

// readDocument reads a file of JSON or YAML.
func (a *app) readDocument(path string, into any) error {
	text, err := a.readFile(path)
	if err != nil {
		return err
	}
	document, err := asJSON(path, text)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(document, into); err != nil {
		return usage("%s: %v", path, err)
	}
	return nil
}

// pair splits NAME=value.
func pair(flag, text string) (name, value string, err error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" {
		return "", "", usage("--%s %s: write it as NAME=value", flag, text)
	}
	return name, value, nil
}

// confirm asks whoever sits at the terminal; where nobody does, --yes is needed.
func (a *app) confirm(yes bool, format string, args ...any) error {
	question := fmt.Sprintf(format, args...)
	if yes {
		return nil
	}
	if !a.InTerminal || !a.ErrTerminal {
		return usage("%s --yes says so", question)
	}
	_, _ = fmt.Fprintf(a.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// path is a file's path below the current directory.
func (a *app) path(named string) string {
	if a.Dir != "" && !filepath.IsAbs(named) {
		return filepath.Join(a.Dir, named)
	}
	return named
}
