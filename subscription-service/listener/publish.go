package listener

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// kind of an outgoing message.
type kind int

const (
	command kind = iota
	deadLetter
)

// outgoing is a message and the job that it follows from.
type outgoing struct {
	kind    kind
	job     *job
	message rabbit.Message
	place   store.Place // of an ordered delivery
}

// publish sends all that follows from a batch: the commands, then the dead letters, among them those of events whose commands
// turned out too large to send.
func (l *Listener) publish(stop, work context.Context, jobs []*job) error {
	if err := l.sendAll(stop, work, l.commands(jobs)); err != nil {
		return err
	}
	if err := l.sendAll(stop, work, l.dead(jobs)); err != nil {
		return err
	}
	return l.bury(stop, work, jobs)
}

// bury lists the dead letters of a batch. They have the names by which they are known again in the broker's queue.
func (l *Listener) bury(stop, work context.Context, jobs []*job) error {
	var letters []contract.DeadLetter
	for _, j := range jobs {
		if j.reason != "" && !j.stuck {
			letters = append(letters, j.letter(l.Now()))
		}
	}
	if len(letters) == 0 {
		return nil
	}
	return l.untilItWorks(stop, "listing dead letters", func() error { return l.Store.Bury(work, letters) })
}

// mostReason bounds a reason on the list, in bytes.
const mostReason = 1000

func (j *job) letter(now time.Time) contract.DeadLetter {
	m := j.message
	letter := contract.DeadLetter{
		ID: contract.DeadEventID(m.RoutingKey, m.ContentType, m.Headers, m.Body), Kind: contract.DeadEvent, Resource: contract.ResourceOf(m.RoutingKey),
		Reason: contract.PrintableTo(j.reason, mostReason), At: now.UTC(), RoutingKey: contract.PrintableTo(m.RoutingKey, 255),
	}
	if j.event != nil {
		letter.EventID, letter.EventSource, letter.EventType = j.event.ID(), j.event.Source(), j.event.Type()
	}
	return letter
}

// commands makes each command when it is asked for: a batch may have more of them than should stand in memory.
func (l *Listener) commands(jobs []*job) iter.Seq[outgoing] {
	return func(yield func(outgoing) bool) {
		for _, j := range jobs {
			for _, wants := range j.wanted {
				if j.reason != "" {
					break
				}
				if !yield(l.command(j, wants)) {
					return
				}
			}
		}
	}
}

func (l *Listener) command(j *job, wants store.Candidate) outgoing {
	c := j.command(wants)
	l.created(j, &c)
	return outgoing{job: j, message: l.Names.ToCommands(rabbit.CommandMessage(c)), place: placeOf(c)}
}

func placeOf(c contract.Command) store.Place {
	return store.Place{Line: c.Line(), Delivery: c.Delivery}
}

func (l *Listener) dead(jobs []*job) iter.Seq[outgoing] {
	return func(yield func(outgoing) bool) {
		for _, j := range jobs {
			if j.reason == "" {
				continue
			}
			l.Log.Warn("an event can't be processed", append(j.ids(), zap.String("reason", j.reason), zap.String("routing_key", contract.Printable(j.message.RoutingKey)))...)
			if !yield(outgoing{kind: deadLetter, job: j, message: l.deadLetter(j)}) {
				return
			}
		}
	}
}

// deadLetter is the message as it came, with the reason and its routing key.
func (l *Listener) deadLetter(j *job) rabbit.Message {
	m := l.Names.ToDead(j.reason, j.message) // its headers are a copy
	m.Headers[rabbit.HeaderRoutingKey] = j.message.RoutingKey
	return m
}

func (l *Listener) sendAll(stop, work context.Context, all iter.Seq[outgoing]) error {
	chunk := make([]outgoing, 0, maxPublish)
	for out := range all {
		if chunk = append(chunk, out); len(chunk) == maxPublish {
			if err := l.sendChunk(stop, work, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	return l.sendChunk(stop, work, chunk)
}

// sendChunk gives ordered deliveries their places before anybody can see their commands.
func (l *Listener) sendChunk(stop, work context.Context, chunk []outgoing) error {
	if err := l.join(stop, work, chunk); err != nil {
		return err
	}
	return l.send(stop, work, chunk)
}

func (l *Listener) join(stop, work context.Context, chunk []outgoing) error {
	places := make([]store.Place, len(chunk))
	for i, out := range chunk {
		places[i] = out.place
	}
	return l.lineUp(stop, work, places)
}

// lineUp leaves out the deliveries that stand in no line.
func (l *Listener) lineUp(stop, work context.Context, places []store.Place) error {
	places = slices.DeleteFunc(places, func(p store.Place) bool { return p.Line == "" })
	if len(places) == 0 {
		return nil
	}
	return l.untilItWorks(stop, "lining deliveries up", func() error { return l.Store.JoinLines(work, places) })
}

// leave makes way for those behind a delivery that will not come.
func (l *Listener) leave(stop, work context.Context, place store.Place) error {
	if place.Line == "" {
		return nil
	}
	return l.untilItWorks(stop, "taking a delivery out of its line", func() error { return l.Store.LeaveLine(work, place.Line, place.Delivery) })
}

// send publishes a chunk. If one of its messages can't be sent at all, they go one by one, so that it holds nobody up.
func (l *Listener) send(stop, work context.Context, chunk []outgoing) error {
	if len(chunk) == 0 {
		return nil
	}
	err := l.confirm(stop, work, chunk)
	switch {
	case err == nil:
		l.sent(chunk)
		return nil
	case !errors.Is(err, rabbit.ErrTooLarge):
		return err
	case len(chunk) == 1:
		return l.tooLarge(stop, work, chunk[0], err)
	}
	for i := range chunk {
		if err := l.send(stop, work, chunk[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Listener) confirm(stop, work context.Context, chunk []outgoing) error {
	messages := make([]rabbit.Message, len(chunk))
	for i, out := range chunk {
		messages[i] = out.message
	}
	return l.untilItWorks(stop, "publishing", func() error {
		ctx, cancel := context.WithTimeout(work, publishTimeout)
		defer cancel()
		return l.Publisher.Publish(ctx, messages...)
	})
}

func (l *Listener) sent(chunk []outgoing) {
	for _, out := range chunk {
		if out.kind == command {
			out.job.commands++
			l.Metrics.commands.Of(out.job.label(l.Metrics)).Inc()
		}
	}
}

// tooLarge makes a dead letter of a command that can't be sent.
func (l *Listener) tooLarge(stop, work context.Context, out outgoing, cause error) error {
	if out.kind == deadLetter {
		return l.deadTooLarge(stop, work, out.job)
	}
	out.job.reason, out.job.dead = "the event's attributes are too long for a callback command: "+cause.Error(), deadTooLarge
	return l.leave(stop, work, out.place) // the dead letters are next
}

// deadTooLarge sends a dead letter without its headers. If that does not help the broker moves the event itself.
func (l *Listener) deadTooLarge(stop, work context.Context, j *job) error {
	bare := j.message
	bare.Headers = nil
	err := l.confirm(stop, work, []outgoing{{message: l.deadLetter(&job{message: bare, reason: j.reason + " (its headers are too long to keep)"})}})
	if errors.Is(err, rabbit.ErrTooLarge) {
		l.Log.Error("an event can't be published as a dead letter: the broker moves it there, without this reason", zap.Error(err))
		j.stuck = true
		return nil
	}
	j.message = bare // as the queue has it, which is what its name on the list is made of
	return err
}
