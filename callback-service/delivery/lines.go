package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// mostHeld and mostHeldBytes bound the deliveries that wait in memory for others of their line, over all lines, and
	// mostHeldOfOne those of one subscription.
	mostHeld      = 5000
	mostHeldOfOne = 2000
	mostHeldBytes = 64 << 20
	// askAgain is how often a line is asked for that nobody told about.
	askAgain = time.Second
	// soon is how long a line waits in memory for its first delivery's next attempt.
	soon = 2 * time.Second
	// headLost is how long the first of a line may show no sign of life before the line goes on without it: its command is
	// gone, as when somebody purged a queue.
	headLost = 15 * time.Minute
)

// whyLine is the reason of what waits at the broker for others of its line.
const whyLine = "waiting for an earlier event of its subject"

// lines lets one delivery of each line at a time on its way: through its lane, past Redis, which knows whether it is the
// first, to its attempt. The others are kept here meanwhile, in the order in which they came, and take no one's slot.
type lines struct {
	now func() time.Time

	mu    sync.Mutex
	lines map[string]*line
	of    map[string]int // held, by subscription
	count int
	bytes int64
}

type line struct {
	current *task
	// await is the delivery that is known to be first, while it is not here. A hint: who asks Redis knows better.
	await string
	held  []*task
	asked time.Time
	head  string
	since time.Time // when head was first seen, or last had a future
}

func newLines(now func() time.Time) *lines {
	return &lines{now: now, lines: map[string]*line{}, of: map[string]int{}}
}

// turn is what a line says to a delivery that arrives.
type turn int

const (
	turnGo   turn = iota // it is on its way until leave, away or behind
	turnHeld             // kept here; comes out of a later call
	turnFull             // there is no room
)

// arrive places a delivery.
func (l *lines) arrive(t *task) turn {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.line(t.cmd.Line())
	switch {
	case n.current == t: // it has rested
		return turnGo
	case n.current == nil && (n.await == "" || n.await == t.cmd.Delivery):
		n.current, n.await = t, ""
		return turnGo
	case l.count >= mostHeld || l.of[t.cmd.Subscription] >= mostHeldOfOne || l.bytes+int64(t.size) > mostHeldBytes:
		return turnFull
	}
	n.held = append(n.held, t)
	l.tally(t, 1)
	return turnHeld
}

func (l *lines) line(id string) *line {
	n := l.lines[id]
	if n == nil {
		n = &line{asked: l.now()}
		l.lines[id] = n
	}
	return n
}

func (l *lines) tally(t *task, sign int) {
	l.count += sign
	l.bytes += int64(sign * t.size)
	if l.of[t.cmd.Subscription] += sign; l.of[t.cmd.Subscription] == 0 {
		delete(l.of, t.cmd.Subscription)
	}
}

// leave ends a delivery's way and returns the one that goes next, if any.
func (l *lines) leave(t *task) []*task {
	if !t.cmd.Ordered {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	id := t.cmd.Line()
	n := l.lines[id]
	if n == nil || n.current != t {
		return nil
	}
	n.current = nil
	return l.next(id, n)
}

// next sends the longest held one on its way. A line without any is forgotten.
func (l *lines) next(id string, n *line) []*task {
	n.await, n.asked = "", l.now()
	if len(n.held) == 0 {
		delete(l.lines, id)
		return nil
	}
	n.current = l.take(n, 0)
	return []*task{n.current}
}

func (l *lines) take(n *line, i int) *task {
	t := n.held[i]
	n.held = slices.Delete(n.held, i, i+1)
	l.tally(t, -1)
	return t
}

// away notes that a delivery goes back to the broker until due, and returns those behind it that had better do so too.
func (l *lines) away(t *task, due time.Time) []*task {
	if !t.cmd.Ordered {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lines[t.cmd.Line()]
	if n == nil || n.current != t {
		return nil
	}
	n.current, n.asked = nil, l.now()
	if t.first {
		n.await = t.cmd.Delivery
	}
	return l.dismiss(n, due)
}

// dismiss takes all that is held of a line, if due is far.
func (l *lines) dismiss(n *line, due time.Time) []*task {
	if due.Sub(l.now()) <= soon {
		return nil
	}
	held := n.held
	n.held = nil
	for _, t := range held {
		l.tally(t, -1)
	}
	return held
}

// behind tells that another delivery comes before the one that was on its way. The other one goes in its place if it is here.
// Else those come back that had better wait at the broker. lost reports that the other shows no sign of life.
func (l *lines) behind(t *task, first contract.Delivery) (instead *task, dismissed []*task, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.line(t.cmd.Line())
	lost = l.watch(n, first)
	n.current, n.asked = nil, l.now()
	n.held = slices.Insert(n.held, 0, t)
	l.tally(t, 1)
	for i, other := range n.held {
		if other.cmd.Delivery == first.ID {
			n.current = l.take(n, i)
			return n.current, nil, lost
		}
	}
	n.await = first.ID
	return nil, l.dismiss(n, first.NextAttempt), lost
}

// watch notes who is first, and reports that this one seems to be lost.
func (l *lines) watch(n *line, first contract.Delivery) (lost bool) {
	now := l.now()
	if n.head != first.ID || first.NextAttempt.After(now) {
		n.head, n.since = first.ID, now
	}
	return now.Sub(n.since) > headLost
}

// moved tells that a delivery of a line is done with, here or elsewhere, and returns the one that goes next.
func (l *lines) moved(id string) []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lines[id]
	if n == nil || n.current != nil {
		return nil
	}
	return l.next(id, n)
}

// stale sends the longest held one of each line on its way that nobody told about lately.
func (l *lines) stale() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tasks []*task
	now := l.now()
	for id, n := range l.lines {
		switch idle := now.Sub(n.asked); {
		case n.current != nil || idle < askAgain:
		case len(n.held) > 0:
			tasks = append(tasks, l.next(id, n)...)
		case idle > 2*headLost:
			delete(l.lines, id)
		}
	}
	return tasks
}

// oldest is when the held one arrived that is here the longest; zero: none is held.
func (l *lines) oldest() (since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.lines {
		if len(n.held) > 0 {
			since = earlier(since, n.held[0].arrived)
		}
	}
	return since
}

// drain takes all that is held.
func (l *lines) drain() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*task
	for _, n := range l.lines {
		all = append(all, n.held...)
		n.held = nil
	}
	clear(l.of)
	l.count, l.bytes = 0, 0
	return all
}

// queueUp makes a task wait for the one that is first in its line. That one takes its slot if it is here.
func (e *Engine) queueUp(t *task, first contract.Delivery) {
	instead, dismissed, lost := e.lines.behind(t, first)
	if lost {
		e.skip(t.cmd.Line(), first.ID)
	}
	if instead != nil {
		instead.laned, t.laned = t.laned, false
		e.inboxOf(instead).put(instead)
		return
	}
	e.free(t)
	e.parkBehind(dismissed, first.NextAttempt)
}

// parkBehind parks those that would only wait for the first of their line, until a moment after that one is due.
func (e *Engine) parkBehind(tasks []*task, due time.Time) {
	for _, t := range tasks {
		e.park(t, due.Add(tickEvery), whyLine)
	}
}

// skip lets a line go on without its first delivery.
func (e *Engine) skip(id, delivery string) {
	e.Log.Error("a delivery of a line shows no sign of life; the line goes on without it", zap.String("delivery", delivery))
	ctx, cancel := context.WithTimeout(noContext, soon)
	defer cancel()
	if err := e.Store.LeaveLine(ctx, id, delivery); err != nil {
		e.Log.Warn("leaving a line", zap.Error(err)) // it is tried again the next time
	}
}
