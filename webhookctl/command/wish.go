package command

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

// wish is what somebody asks of a subscription, in flags and a file.
type wish struct {
	file                                              string
	callbackURL, filter, transform, format, ordering  string
	description, retries, mode                        string
	types, signatures, headers, auth, timeouts, clear []string
	rateLimit                                         float64
	maxInFlight                                       int
}

// register takes the flags of all fields.
func (w *wish) register(cmd *cobra.Command) {
	w.registerEvents(cmd)
	f := cmd.Flags()
	f.StringVar(&w.callbackURL, "callback-url", "", "where callbacks go")
	f.StringArrayVar(&w.headers, "header", nil, "NAME=VALUE: a further header of callbacks (repeatable)")
	f.StringArrayVar(&w.auth, "auth", nil, "NAME=VALUE: a field of the credential that callbacks carry, as type=bearer, token=@FILE, headers.X-Api-Key=@FILE; @- for stdin (repeatable)")
	f.Float64Var(&w.rateLimit, "rate-limit", 0, "attempts per second at most")
	f.IntVar(&w.maxInFlight, "max-in-flight", 0, "attempts under way at a time at most")
	f.StringVar(&w.retries, "retry-schedule", "", "the waits between attempts, as 5s,30s,2m; none for one attempt only")
	f.StringArrayVar(&w.timeouts, "attempt-timeout", nil, "NAME=DURATION of one attempt: connect, header or total (repeatable)")
	f.StringVar(&w.mode, "mode", "", "push, or pull for consumers without an endpoint (webhookctl listen)")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"push", "pull"}, noFiles)) // the flag is there
}

// registerEvents takes the flags that are about events, and not about calling an endpoint.
func (w *wish) registerEvents(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&w.file, "file", "f", "", "a JSON or YAML file with the fields; flags count more. - for stdin")
	f.StringSliceVar(&w.types, "type", nil, "a type of event; * stands for one segment, ** for the rest (repeatable; none: all types)")
	f.StringVar(&w.filter, "filter", "", "CEL that is true of the events that are wanted, as 'data.total > 100.0'")
	f.StringVar(&w.transform, "transform", "", "CEL that makes the body, with --format data")
	f.StringVar(&w.format, "format", "", "cloudevents-structured, cloudevents-binary or data")
	f.StringSliceVar(&w.signatures, "signature", nil, "v1, v1a (repeatable)")
	f.StringVar(&w.ordering, "ordering", "", "none, or subject: one after the other for the same subject")
	f.StringVar(&w.description, "description", "", "what it is for")
	for name, values := range map[string][]string{
		"format": {"cloudevents-structured", "cloudevents-binary", "data"}, "ordering": {"none", "subject"}, "signature": {"v1", "v1a"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, noFiles)) // the flag is there
	}
}

// body is the file with the flags over it.
func (w *wish) body(cmd *cobra.Command, a *app) (map[string]any, error) {
	body := map[string]any{}
	if w.file != "" {
		if err := a.readDocument(w.file, &body); err != nil {
			return nil, err
		}
	}
	for _, name := range w.clear {
		body[name] = nil
	}
	w.plain(cmd.Flags(), body)
	return body, w.structured(a, body)
}

// plain puts those flags that were given and are their fields' values.
func (w *wish) plain(given *pflag.FlagSet, body map[string]any) {
	for flag, field := range map[string]struct {
		name  string
		value any
	}{
		"callback-url": {"callback_url", w.callbackURL}, "type": {"types", w.types}, "filter": {"filter", w.filter}, "transform": {"transform", w.transform},
		"format": {"format", w.format}, "signature": {"signatures", w.signatures}, "rate-limit": {"rate_limit", w.rateLimit},
		"max-in-flight": {"max_in_flight", w.maxInFlight}, "ordering": {"ordering", w.ordering}, "description": {"description", w.description}, "mode": {"mode", w.mode},
		"retry-schedule": {"retry_schedule", schedule(w.retries)},
	} {
		if given.Changed(flag) {
			body[field.name] = field.value
		}
	}
}

func schedule(text string) []string {
	if text == "none" || text == "" {
		return []string{}
	}
	return strings.Split(text, ",")
}

// structured puts the flags that are members of objects.
func (w *wish) structured(a *app, body map[string]any) error {
	for _, part := range []struct {
		flag, field string
		texts       []string
		value       func(string) (string, error)
	}{
		{"header", "headers", w.headers, asIs}, {"attempt-timeout", "timeouts", w.timeouts, asIs}, {"auth", "auth", w.auth, a.secretValue},
	} {
		if len(part.texts) == 0 {
			continue
		}
		object, _ := body[part.field].(map[string]any)
		if object == nil {
			object = map[string]any{}
		}
		if err := putMembers(object, part.flag, part.texts, part.value); err != nil {
			return err
		}
		body[part.field] = object
	}
	return nil
}

func putMembers(object map[string]any, flag string, texts []string, read func(string) (string, error)) error {
	for _, text := range texts {
		name, value, err := pair(flag, text)
		if err != nil {
			return err
		}
		if value, err = read(value); err != nil {
			return err
		}
		at, last := object, name
		if flag == "auth" {
			at, last = inner(object, name)
		}
		at[last] = value
	}
	return nil
}

func asIs(value string) (string, error) { return value, nil }

// secretValue reads @FILE; anything else is the value.
func (a *app) secretValue(value string) (string, error) {
	file, isFile := strings.CutPrefix(value, "@")
	if !isFile {
		return value, nil
	}
	secret, err := settings.ReadSecret(a.secretPath(file), a.In)
	if err != nil {
		return "", usage("--auth: %v", err)
	}
	return secret, nil
}

func (a *app) secretPath(file string) string {
	if file == "-" {
		return file
	}
	return a.path(file)
}
