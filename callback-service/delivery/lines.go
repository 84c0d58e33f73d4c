package delivery

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	// mostHeld bounds the deliveries that wait in memory for others of their line, over all lines.
	mostHeld = 5000
	// askAgain is how often a line is asked for that nobody told about.
	askAgain = time.Second
	// soon is how long a line waits in memory for its first delivery's next attempt.
	soon = 2 * time.Second
	// headLost is how long the first of a line may show no sign of life before the line goes on without it: its command is
	// gone, as when somebody purged a queue.
	headLost = 15 * time.Minute
)

// lines keeps deliveries that wait for an earlier one of their line, in the order in which they came.
type lines struct {
	now func() time.Time

	mu    sync.Mutex
	lines map[string]*line
	count int
}

type line struct {
	held  []*task
	asked time.Time
	head  string
	since time.Time // when head was first seen, or last had a future
}

func newLines(now func() time.Time) *lines { return &lines{now: now, lines: map[string]*line{}} }

// hold keeps a task; false: there is no room.
func (l *lines) hold(id string, t *task) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= mostHeld {
		return false
	}
	n := l.line(id)
	n.held, n.asked = append(n.held, t), l.now()
	l.count++
	return true
}

func (l *lines) line(id string) *line {
	n := l.lines[id]
	if n == nil {
		n = &line{asked: l.now()}
		l.lines[id] = n
	}
	return n
}

// watch notes who is first, and reports that this one seems to be lost.
func (l *lines) watch(id string, first contract.Delivery) (lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, now := l.line(id), l.now()
	if n.head != first.ID || first.NextAttempt.After(now) {
		n.head, n.since = first.ID, now
	}
	return now.Sub(n.since) > headLost
}

// release takes the longest held task of a line.
func (l *lines) release(id string) []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lines[id]
	if n == nil {
		return nil
	}
	return l.first(id, n)
}

func (l *lines) first(id string, n *line) []*task {
	if len(n.held) == 0 {
		return nil
	}
	t := n.held[0]
	n.held, n.asked = n.held[1:], l.now()
	l.count--
	if len(n.held) == 0 {
		n.held = nil
		delete(l.lines, id)
	}
	return []*task{t}
}

// take takes one delivery out of a line, if it is held.
func (l *lines) take(id, delivery string) []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.lines[id]
	if n == nil {
		return nil
	}
	for i, t := range n.held {
		if t.cmd.Delivery == delivery {
			n.held[0], n.held[i] = n.held[i], n.held[0]
			return l.first(id, n)
		}
	}
	return nil
}

// stale takes the longest held task of each line that nobody asked for lately.
func (l *lines) stale() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	var tasks []*task
	now := l.now()
	for id, n := range l.lines {
		if now.Sub(n.asked) < askAgain {
			continue
		}
		tasks = append(tasks, l.first(id, n)...)
		if len(n.held) == 0 && now.Sub(n.since) > 2*headLost {
			delete(l.lines, id)
		}
	}
	return tasks
}

func (l *lines) drain() []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []*task
	for _, n := range l.lines {
		all = append(all, n.held...)
	}
	l.lines, l.count = map[string]*line{}, 0
	return all
}

// queueUp makes a task wait for the one that is first in its line.
func (e *Engine) queueUp(t *task, first contract.Delivery) {
	e.free(t)
	id, now := t.cmd.Line(), e.Now()
	if e.lines.watch(id, first) {
		e.skip(id, first.ID)
	}
	if wait := first.NextAttempt.Sub(now); wait > soon {
		e.park(t, first.NextAttempt.Add(tickEvery), "waiting for an earlier event of its subject")
		return
	}
	if !e.lines.hold(id, t) {
		e.park(t, now.Add(askAgain), "waiting for an earlier event of its subject")
		return
	}
	e.enter(e.lines.take(id, first.ID)...)
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
