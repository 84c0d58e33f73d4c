package command

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/publish"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

func (a *app) eventsCommand() *cobra.Command {
	cmd := group("events", "Events: publish, types", a.eventsPublish(), a.eventsTypes())
	cmd.Aliases = []string{"event"}
	return cmd
}

func (a *app) eventsTypes() *cobra.Command {
	return &cobra.Command{Use: "types RESOURCE", Short: "The types of events that a resource has, with their schemas", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeResources(), RunE: func(cmd *cobra.Command, args []string) error {
		gateway, err := a.gateway()
		if err != nil {
			return err
		}
		answer, err := gateway.Get(cmd.Context(), client.Path(args[0], "events", "types"), nil)
		return either(err, func() error { return a.showTypes(answer, "items") })
	}}
}

// publishing is what somebody asks of publish.
type publishing struct {
	file, via, format     string
	template              publish.Template
	idPrefix              string
	extensions            []string
	rate                  float64
	skip                  int
	confirmTime, patience time.Duration
}

const publishLong = `Publish events to a resource, over AMQP or through the gateway. What is counted is what the broker has confirmed.

The events come from the argument, from a file, or from stdin: one, several one after the other (NDJSON), or a JSON array. Each is a
CloudEvent in the JSON format, which is published as it is, or else any JSON value, which becomes the data of an event of --type,
--source and --subject. With --format data the whole input is the data of one event, JSON or not.

When publishing breaks off, the error says how many events are confirmed, and how to go on after them with --skip. Some events of the
batch that failed may have been published nevertheless: published again with the same id and source, they make no second delivery.`

func (a *app) eventsPublish() *cobra.Command {
	p := &publishing{}
	cmd := &cobra.Command{
		Use: "publish RESOURCE [DATA]", Short: "Publish events, over AMQP or HTTP", Long: publishLong, Args: cobra.RangeArgs(1, 2), ValidArgsFunction: a.completeResources(),
		Example: `  webhookctl events publish orders --type order.created '{"order":"4711","total":12.50}'
  webhookctl events publish orders -f events.ndjson --rate 500
  generate | webhookctl events publish orders -f - --type order.created --via http
  webhookctl events publish orders -f scan.pdf --format data --content-type application/pdf --type order.scanned`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.publish(cmd.Context(), p, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&p.file, "file", "f", "", "a file with the events; - for stdin")
	f.StringVar(&p.via, "via", "", "amqp or http; unless set, amqp where AMQP_URL is known")
	f.StringVar(&p.format, "format", "auto", "auto, or data: the whole input is the data of one event")
	f.StringVar(&p.template.Type, "type", "", "the type of events that are made of data, as order.created")
	f.StringVar(&p.template.Source, "source", "/webhookctl", "their source")
	f.StringVar(&p.template.Subject, "subject", "", "their subject")
	f.StringVar(&p.template.ID, "id", "", "the id, of one event; random unless set")
	f.StringVar(&p.idPrefix, "id-prefix", "", "what the ids of several events begin with, before -1, -2, …; random unless set")
	f.StringVar(&p.template.ContentType, "content-type", "application/json", "the data's")
	f.StringArrayVar(&p.extensions, "extension", nil, "NAME=VALUE: a further attribute (repeatable)")
	f.Float64Var(&p.rate, "rate", 0, "events per second at most; 0: as fast as it goes")
	f.IntVar(&p.skip, "skip", 0, "leave out so many events at the beginning, to go on after a failure")
	f.DurationVar(&p.confirmTime, "confirm-timeout", 30*time.Second, "the longest wait for the broker's confirm of a batch")
	f.DurationVar(&p.patience, "patience", 5*time.Minute, "over HTTP: for how long to go on while a limit is used up")
	_ = cmd.RegisterFlagCompletionFunc("via", cobra.FixedCompletions([]string{"amqp", "http"}, noFiles))    // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"auto", "data"}, noFiles)) // the flag is there
	return cmd
}

func (a *app) publish(ctx context.Context, p *publishing, args []string) error {
	input, size, err := a.input(p, args)
	if err != nil {
		return err
	}
	defer func() { _ = input.Close() }()
	if err := p.complete(a.Now()); err != nil {
		return err
	}
	items, err := p.items(input)
	if err != nil {
		return err
	}
	sender, closing, err := a.sender(ctx, p, args[0])
	if err != nil {
		return err
	}
	defer closing()
	bar := a.bar(size, "publishing")
	last := ""
	done, err := publish.Run(ctx, remembering(items, &last), sender, p.rate, func(d publish.Done) {
		bar.Describe(fmt.Sprintf("publishing: %d confirmed", d.Confirmed))
		_ = bar.Set64(d.End) // it only draws
	})
	_ = bar.Clear() // it only draws
	return a.published(p, done, last, err)
}

// remembering keeps the id of the last event.
func remembering(items iter.Seq2[publish.Item, error], last *string) iter.Seq2[publish.Item, error] {
	return func(yield func(publish.Item, error) bool) {
		for item, err := range items {
			if err == nil {
				*last = item.Event.ID()
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// input is where the events come from, and its size where that is known; else -1.
func (a *app) input(p *publishing, args []string) (io.ReadCloser, int64, error) {
	switch {
	case len(args) == 2 && p.file != "":
		return nil, 0, usage("give the data as an argument or in a file, not both")
	case len(args) == 2:
		return io.NopCloser(strings.NewReader(args[1])), -1, nil
	case p.file == "" && a.InTerminal:
		return nil, 0, usage("give the data as an argument, -f FILE, or -f - for stdin")
	case p.file == "":
		p.file = "-"
	}
	input, err := a.open(p.file)
	if err != nil {
		return nil, 0, err
	}
	if file, ok := input.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return input, max(1, info.Size()), nil
		}
	}
	return input, -1, nil
}

// complete fills in what was not given.
func (p *publishing) complete(now time.Time) error {
	p.template.Time = now
	if p.template.Numbered = p.template.ID == ""; p.template.Numbered {
		if p.idPrefix == "" {
			p.idPrefix = rand.Text()
		}
		p.template.ID = p.idPrefix
	}
	p.template.Extensions = map[string]string{}
	for _, text := range p.extensions {
		name, value, err := pair("extension", text)
		if err != nil {
			return err
		}
		p.template.Extensions[name] = value
	}
	if p.skip < 0 || p.rate < 0 {
		return usage("--skip and --rate can't be negative")
	}
	return nil
}

func (p *publishing) items(input io.Reader) (iter.Seq2[publish.Item, error], error) {
	switch p.format {
	case "auto":
		return publish.Items(publish.NewValues(input), p.template, p.skip), nil
	case "data":
		return p.one(input)
	}
	return nil, usage("--format %s: use auto or data", p.format)
}

// one makes one event of the whole input.
func (p *publishing) one(input io.Reader) (iter.Seq2[publish.Item, error], error) {
	data, err := io.ReadAll(io.LimitReader(input, mostFile))
	if err != nil {
		return nil, fmt.Errorf("reading the data: %w", err)
	}
	var e *event.Event
	if e, err = p.template.Of(data, 1); err != nil {
		if errors.Is(err, publish.ErrNoType) {
			return nil, usage("--format data needs --type")
		}
		return nil, exit.With(exit.Invalid, err)
	}
	return func(yield func(publish.Item, error) bool) {
		yield(publish.Item{Event: e, Number: 1, Line: 1, End: int64(len(data))}, nil)
	}, nil
}

// sender connects to where the events go. Call closing at the end.
func (a *app) sender(ctx context.Context, p *publishing, resource string) (to publish.Sender, closing func(), err error) {
	if p.via == "" {
		p.via = "http"
		if a.settings.Has(settings.AMQPURL) {
			p.via = "amqp"
		}
	}
	switch p.via {
	case "http":
		gateway, err := a.gateway()
		return publish.HTTP{Client: gateway, Resource: resource, Patience: p.patience}, func() {}, err
	case "amqp":
		return a.broker(ctx, p, resource)
	}
	return nil, nil, usage("--via %s: use amqp or http", p.via)
}

func (a *app) broker(ctx context.Context, p *publishing, resource string) (publish.Sender, func(), error) {
	address, secure, err := a.amqp()
	if err != nil {
		return nil, nil, exit.With(exit.Usage, err)
	}
	conn, err := rabbit.Open(ctx, address, rabbit.Options{Name: "webhookctl", Guest: true, TLS: secure})
	if err != nil {
		return nil, nil, exit.With(exit.Unavailable, fmt.Errorf("AMQP_URL: %w", err))
	}
	return publish.AMQP{Publisher: conn.Publisher(), Names: conn.Names(), Resource: resource, Timeout: p.confirmTime}, func() { _ = conn.Close() }, nil
}

// amqp is the broker's URL and what its connections need.
func (a *app) amqp() (string, *tlsconf.Client, error) {
	address, err := a.settings.Need(settings.AMQPURL)
	if err != nil {
		return "", nil, err
	}
	secure, err := tlsconf.NewClient(tlsconf.AMQP(address), a.files("WEBHOOK_AMQP_"), a.logger())
	return address, secure, err
}

// files are the PEM files that the environment names.
func (a *app) files(prefix string) tlsconf.Files {
	env := a.environment()
	return tlsconf.Files{CA: env[prefix+"CA"], Cert: env[prefix+"CERT"], Key: env[prefix+"KEY"]}
}

// published says what was done, also where it broke off.
func (a *app) published(p *publishing, done publish.Done, last string, err error) error {
	if err != nil {
		return p.brokenOff(done, err)
	}
	switch {
	case !a.print.Human():
		return a.print.Value(map[string]any{"confirmed": done.Confirmed, "via": p.via, "last_id": last})
	case a.print.Quiet:
		a.print.Say("%s", last)
	case done.Confirmed == 1:
		a.print.Say("published: the broker has confirmed the event %s", last)
	default:
		a.print.Say("published: the broker has confirmed %d events", done.Confirmed)
	}
	return nil
}

// brokenOff says how far it got and how to go on.
func (p *publishing) brokenOff(done publish.Done, err error) error {
	if done.Confirmed == 0 && done.Unsure <= 1 {
		return err
	}
	next := max(p.skip, done.Number)
	text := fmt.Sprintf("%d events are confirmed", done.Confirmed)
	if done.Confirmed > 0 {
		text += fmt.Sprintf(", up to event %d on line %d", done.Number, done.Line)
	}
	text += fmt.Sprintf("; go on with --skip %d", next)
	if p.template.Numbered && p.template.Type != "" {
		text += " --id-prefix " + p.idPrefix
	}
	code := exit.Of(err)
	if done.Confirmed > 0 && code != exit.Interrupted {
		code = exit.Partial
	}
	return exit.With(code, fmt.Errorf("%w\n%s", err, text))
}
