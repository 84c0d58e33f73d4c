package listener

import (
	"context"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// finishWithin is how long published events wait for others to be marked and acknowledged with: nobody waits for them, and an
// acknowledgement costs the broker as much as a message.
const finishWithin = 50 * time.Millisecond

// published are messages from which all that follows is confirmed, with their jobs.
type published struct {
	batch []*rabbit.Delivery
	jobs  []*job
}

func (p *published) add(more published) {
	p.batch, p.jobs = append(p.batch, more.batch...), append(p.jobs, more.jobs...)
}

// finish archives events, marks them as seen and acknowledges their messages, until nothing more is published.
func (l *Listener) finish(stop, work context.Context, all <-chan published) {
	for some := range all {
		l.gather(stop, &some, all)
		if l.conclude(stop, work, some.jobs) == nil {
			settle(some)
		} else {
			rabbit.Leave(some.batch)
		}
	}
}

// conclude leaves nothing to do but to acknowledge.
func (l *Listener) conclude(stop, work context.Context, jobs []*job) error {
	defer l.fresh.remove(jobs)
	if err := l.archive(stop, work, jobs); err != nil {
		return err
	}
	if err := l.mark(stop, work, jobs); err != nil {
		return err
	}
	for _, job := range jobs {
		l.count(job)
	}
	return nil
}

// gather adds what else is published within a while, but no more than is worth waiting for.
func (l *Listener) gather(stop context.Context, some *published, all <-chan published) {
	timer := time.NewTimer(finishWithin)
	defer timer.Stop()
	for len(some.jobs) < maxBatch {
		select {
		case more, open := <-all:
			if !open {
				return
			}
			some.add(more)
		case <-timer.C:
			return
		case <-stop.Done():
			return
		}
	}
}

// settle acknowledges, in as few frames as possible. Where not even a dead letter could be published the broker moves the
// message itself, without the reason, which the log has.
func settle(p published) {
	acks := make([]*rabbit.Delivery, 0, len(p.batch))
	for i, d := range p.batch {
		if p.jobs[i].stuck {
			d.Reject()
		} else {
			acks = append(acks, d)
		}
	}
	rabbit.AckAll(acks)
}

// mark remembers the events whose commands are confirmed, those that nobody wanted, and why an event is a dead letter: the
// last two may come again.
func (l *Listener) mark(stop, work context.Context, jobs []*job) error {
	var marks []store.Mark
	for _, j := range jobs {
		switch {
		case j.event == nil || j.again:
		case j.reason != "":
			marks = append(marks, store.Mark{Event: j.key(), Taken: j.taken, Reason: j.reason})
		default:
			marks = append(marks, store.Mark{Event: j.key(), Taken: j.taken, Commands: j.commands})
		}
	}
	if len(marks) == 0 {
		return nil
	}
	return l.untilItWorks(stop, "marking events as seen", func() error { return l.Store.MarkSeen(work, marks) })
}

// fulfilled are the events that have their commands. A large one has not: when the broker hands it out again while it is fanned
// out, as after a lost connection, it stands in line behind itself and is not done with before.
func fulfilled(jobs []*job) []store.EventKey {
	var events []store.EventKey
	for _, j := range jobs {
		if j.commands > 0 && j.reason == "" {
			events = append(events, j.key())
		}
	}
	return events
}

// fresh are the events that have their commands and are yet to be marked.
type fresh struct {
	mu     sync.Mutex
	events map[store.EventKey]struct{}
}

func (f *fresh) add(jobs []*job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.events == nil {
		f.events = map[store.EventKey]struct{}{}
	}
	for _, e := range fulfilled(jobs) {
		f.events[e] = struct{}{}
	}
}

func (f *fresh) remove(jobs []*job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range fulfilled(jobs) {
		delete(f.events, e)
	}
}

// among tells which of the jobs' events are fresh.
func (f *fresh) among(jobs []*job) []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := make([]bool, len(jobs))
	for i, j := range jobs {
		_, found[i] = f.events[j.key()]
	}
	return found
}
