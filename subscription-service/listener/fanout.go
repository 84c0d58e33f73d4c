package listener

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/index"
)

const (
	// mostInLine is how many subscriptions may want an event for its commands to go with those of other events.
	mostInLine = 1000
	// fanOutPart is how many commands of a large fan-out are published at a time; a crash repeats no more.
	fanOutPart = 25
)

// errStopped: the service ends in the middle of a fan-out. Who takes the event next goes on there.
var errStopped = errors.New("the fan-out goes on elsewhere")

// handOn sends each event to where it is finished.
func handOn(batch []*rabbit.Delivery, jobs []*job, done, large chan<- published) {
	var small published
	for i, j := range jobs {
		if j.large {
			large <- published{batch[i : i+1], jobs[i : i+1]}
			continue
		}
		small.add(published{batch[i : i+1], jobs[i : i+1]})
	}
	if len(small.jobs) > 0 {
		done <- small
	}
}

// reserve gives the ordered deliveries of large events their places now: others of their subjects come right behind.
func (l *Listener) reserve(stop, work context.Context, view *index.View, jobs []*job) error {
	for _, j := range jobs {
		if !j.large {
			continue
		}
		var places []store.Place
		found, _ := view.Match(j.resource, j.event.Type(), math.MaxInt)
		for _, c := range found {
			if c.Ordered && l.passes(j, c) {
				places = append(places, placeOf(j.command(c)))
			}
		}
		if err := l.lineUp(stop, work, places); err != nil {
			return err
		}
	}
	return nil
}

// fanOutAll publishes the commands of large events, one event after the other.
func (l *Listener) fanOutAll(stop, work context.Context, large <-chan published, done chan<- published) {
	for p := range large {
		if l.fanOut(stop, work, p.jobs[0]) != nil {
			rabbit.Leave(p.batch)
			continue
		}
		done <- p
	}
}

// fanOut publishes a large event's commands in the order of the subscriptions' ids, and keeps how far it is.
func (l *Listener) fanOut(stop, work context.Context, j *job) error {
	rest, err := l.rest(stop, work, j)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(rest, fanOutPart) {
		if stop.Err() != nil {
			return errStopped
		}
		begin := time.Now()
		if err := l.publishPart(stop, work, j, part); err != nil {
			return err
		}
		service.Pause(stop, 2*time.Since(begin)) // most of the time is for others
	}
	if j.reason == "" {
		return nil
	}
	return l.sendAll(stop, work, l.dead([]*job{j}))
}

// rest are those who want the event and have no command yet.
func (l *Listener) rest(stop, work context.Context, j *job) (rest []store.Candidate, err error) {
	view, err := l.look(stop, work, []string{j.resource}, nil)
	if err != nil {
		return nil, err
	}
	var after string
	err = l.untilItWorks(stop, "reading how far an event is", func() error {
		after, err = l.Store.FanOut(work, j.key())
		return err
	})
	rest = view.All(j.resource, j.event.Type(), after)
	if after != "" {
		j.commands = len(view.All(j.resource, j.event.Type(), "")) - len(rest)
	}
	return rest, err
}

func (l *Listener) publishPart(stop, work context.Context, j *job, part []store.Candidate) error {
	last := part[len(part)-1].Subscription
	chunk := make([]outgoing, 0, len(part))
	for _, c := range l.passing(j, part) {
		out := l.command(j, c)
		out.message = l.Names.ToBulk(out.message)
		chunk = append(chunk, out)
	}
	if err := l.sendChunk(stop, work, chunk); err != nil {
		return err
	}
	return l.untilItWorks(stop, "keeping how far an event is", func() error { return l.Store.KeepFanOut(work, j.key(), last) })
}
