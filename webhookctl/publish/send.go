package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/time/rate"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// Sender sends a batch; nil means that every event of it is confirmed.
type Sender interface {
	Send(ctx context.Context, batch []*event.Event) error
	// Bounds are how many events, and bytes of data, a batch may have.
	Bounds() (events, bytes int)
}

// Done is how far publishing is.
type Done struct {
	// Confirmed counts the events that the broker has for certain; Number and Line are those of the last one.
	Confirmed, Number, Line int
	End                     int64
	// Unsure counts those of the batch that failed: some may have been published.
	Unsure int
}

// Run publishes events, batch by batch, at most so many per second (0: as fast as it goes), and tells after each. On an error Done is how far
// it got.
func Run(ctx context.Context, items iter.Seq2[Item, error], to Sender, perSecond float64, tell func(Done)) (Done, error) {
	most, mostBytes := to.Bounds()
	limit := rate.NewLimiter(rate.Inf, most)
	if perSecond > 0 {
		most = max(1, min(most, int(perSecond/4))) // four batches a second
		limit = rate.NewLimiter(rate.Limit(perSecond), most)
	}
	run := &running{to: to, limit: limit, tell: tell}
	size := 0
	for item, err := range items {
		if err != nil {
			return run.end(ctx, err)
		}
		data := len(item.Event.Data())
		if len(run.batch) > 0 && (len(run.batch) == most || size+data > mostBytes) {
			if err := run.send(ctx); err != nil {
				return run.done, err
			}
			size = 0
		}
		run.batch, size = append(run.batch, item), size+data
	}
	return run.end(ctx, nil)
}

type running struct {
	to    Sender
	limit *rate.Limiter
	tell  func(Done)
	batch []Item
	done  Done
}

// end sends what came before a fault of the input, which is then the error.
func (r *running) end(ctx context.Context, fault error) (Done, error) {
	if len(r.batch) > 0 {
		if err := r.send(ctx); err != nil {
			return r.done, err
		}
	}
	return r.done, fault
}

func (r *running) send(ctx context.Context) error {
	if err := r.limit.WaitN(ctx, len(r.batch)); err != nil {
		return ctx.Err()
	}
	events := make([]*event.Event, len(r.batch))
	for i, item := range r.batch {
		events[i] = item.Event
	}
	if err := r.to.Send(ctx, events); err != nil {
		r.done.Unsure = len(r.batch)
		return r.placed(err)
	}
	last := r.batch[len(r.batch)-1]
	r.done.Confirmed += len(r.batch)
	r.done.Number, r.done.Line, r.done.End = last.Number, last.Line, last.End
	r.batch = r.batch[:0]
	r.tell(r.done)
	return nil
}

// placed says where in the input the batch was that failed, and which event of it is at fault if that is known.
func (r *running) placed(err error) error {
	first, last := r.batch[0], r.batch[len(r.batch)-1]
	where := fmt.Sprintf("events %d to %d (lines %d to %d)", first.Number, last.Number, first.Line, last.Line)
	if len(r.batch) == 1 {
		where = fmt.Sprintf("event %d (line %d)", first.Number, first.Line)
	}
	var problem *client.Problem
	if errors.As(err, &problem) {
		for i, f := range problem.Errors {
			var index int
			if _, scan := fmt.Sscanf(f.Location, "[%d]", &index); scan == nil && index < len(r.batch) {
				at := r.batch[index]
				problem.Errors[i].Location = fmt.Sprintf("event %d, line %d, %s", at.Number, at.Line, strings.TrimPrefix(f.Location[strings.Index(f.Location, "]")+1:], "."))
			}
		}
	}
	return fmt.Errorf("%s: %w", where, err)
}

// AMQP sends to the broker, in the binary mode, persistent and mandatory.
type AMQP struct {
	Publisher interface {
		Publish(ctx context.Context, messages ...rabbit.Message) error
	}
	Names    rabbit.Names
	Resource string
	// Timeout bounds the wait for the confirms of a batch.
	Timeout time.Duration
}

// Bounds are what the publisher sends before it waits for confirms.
func (a AMQP) Bounds() (events, bytes int) { return 256, 8 << 20 }

// Send publishes a batch and waits for the confirms.
func (a AMQP) Send(ctx context.Context, batch []*event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	messages := make([]rabbit.Message, len(batch))
	for i, e := range batch {
		messages[i] = a.Names.ToEvents(a.Resource+"."+e.Type(), rabbit.EventMessage(e))
	}
	err := a.Publisher.Publish(ctx, messages...)
	var returned *rabbit.ReturnedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &returned):
		return exit.With(exit.Unavailable, fmt.Errorf("%w; webhookctl doctor says what the broker lacks", err))
	case errors.Is(err, rabbit.ErrTooLarge):
		return exit.With(exit.Invalid, err)
	case ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return ctx.Err()
	}
	return exit.With(exit.Unavailable, err)
}

// HTTP sends through the gateway, in the batched mode.
type HTTP struct {
	Client   *client.Client
	Resource string
	// Patience is how long it goes on trying while a limit is used up, or something is away for a moment.
	Patience time.Duration
}

// Bounds are those of a call.
func (h HTTP) Bounds() (events, bytes int) { return contract.MaxBatch, contract.MaxEvent / 2 }

// Send makes the call, again where the answer says that it may work later. All of a batch is published or none.
func (h HTTP) Send(ctx context.Context, batch []*event.Event) error {
	body, err := batchOf(batch)
	if err != nil {
		return err
	}
	until := time.Now().Add(h.Patience)
	for {
		_, err := h.Client.Call(ctx, client.Request{
			Method: http.MethodPost, Path: client.Path(h.Resource, "events"), Body: body, ContentType: event.ApplicationCloudEventsBatchJSON,
		})
		wait, again := later(err)
		if !again || time.Now().Add(wait).After(until) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// later tells whether a call may work later, and when.
func later(err error) (time.Duration, bool) {
	var problem *client.Problem
	if err == nil || !errors.As(err, &problem) {
		return 0, false
	}
	switch problem.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return max(problem.RetryAfter, 200*time.Millisecond), true
	}
	return 0, false
}

func batchOf(batch []*event.Event) ([]byte, error) {
	var body bytes.Buffer
	body.WriteByte('[')
	for i, e := range batch {
		if i > 0 {
			body.WriteByte(',')
		}
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, exit.With(exit.Invalid, fmt.Errorf("writing event %s: %w", contract.Printable(e.ID()), err))
		}
		body.Write(raw)
	}
	body.WriteByte(']')
	return body.Bytes(), nil
}
