package delivery

import (
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// headerParks counts on a command how often it was parked.
const headerParks = "x-webhook-parks"

// whyLane is the reason of what its lane parks.
const whyLane = "waiting for its turn: the endpoint is slow, limited or failing"

// earliness is how much before its time a command is kept, rather than sent back to wait: no delay of the broker's is shorter
// than 250 ms.
const earliness = 300 * time.Millisecond

// arrive takes a batch from the broker. It never waits for anything but its own locks.
func (e *Engine) arrive(queue string, batch []*rabbit.Delivery) {
	now := e.Now()
	for _, t := range e.decode(e.due(batch, now)) {
		e.Metrics.taken(queue, t, now)
		if t.arrived = now; !e.book.admit(t) {
			continue
		}
		if at, delayed := t.message.Due(); delayed && at.After(now) {
			e.rest.add(t, at.Sub(now))
			continue
		}
		e.enter(t)
	}
}

// due sends what came too early back to wait: a delay longer than one step of the broker's ladder takes several.
// It is asked before a command is decoded, so that a hop costs no look at the event.
func (e *Engine) due(batch []*rabbit.Delivery, now time.Time) []*rabbit.Delivery {
	ready := batch[:0]
	for _, msg := range batch {
		at, delayed := msg.Due()
		if delayed && at.Sub(now) > earliness {
			e.follows(settlement{task: &task{msg: msg, message: msg.Message}, publish: e.delay(msg.Message, at)})
			continue
		}
		ready = append(ready, msg)
	}
	return ready
}

// decode sends what is no command to the dead letters.
func (e *Engine) decode(batch []*rabbit.Delivery) []*task {
	tasks := make([]*task, 0, len(batch))
	for _, msg := range batch {
		t := &task{msg: msg, message: msg.Message, size: len(msg.Body)}
		cmd, err := contract.DecodeCommand(msg.ContentType, msg.Headers, msg.Body)
		if err != nil {
			e.Log.Warn("a message is no callback command", zap.Error(err))
			e.follows(settlement{task: t, publish: e.dead(msg.Message, err.Error()), result: resultUnreadable, dead: deadUnreadable})
			continue
		}
		parks, _ := msg.Headers[headerParks].(int64)
		t.cmd, t.parks, t.returning = cmd, int(parks), parks > 0
		tasks = append(tasks, t)
	}
	return tasks
}

// enter puts tasks into their lanes; of those that stand in line, one of each line.
func (e *Engine) enter(tasks ...*task) {
	for _, t := range tasks {
		preferred := t.returning || t.cmd.Ordered // a whole line waits for it
		if t.returning {
			t.returning = false
			e.lanes.Returned(t.cmd.Subscription)
		}
		if t.cmd.Ordered {
			switch e.lines.arrive(t) {
			case turnHeld:
				continue
			case turnFull:
				e.park(t, e.lanes.Postpone(t.cmd.Subscription), whyLine)
				continue
			case turnGo: // see below
			}
		}
		e.place(t, preferred)
	}
}

func (e *Engine) place(t *task, preferred bool) {
	if t.cmd.Pull {
		e.mail.put(t) // nobody is called, so that there is nothing to wait for
		return
	}
	t.laned = true
	place, due := e.lanes.Arrive(t.cmd.Subscription, item(t), preferred)
	switch place {
	case lane.Start:
		e.inbox.put(t)
	case lane.Park:
		e.park(t, due, whyLane)
	case lane.Wait: // the lane keeps it
	}
}

func item(t *task) lane.Item[*task] {
	return lane.Item[*task]{Value: t, Size: t.size, Since: t.arrived}
}

// move does what lanes say.
func (e *Engine) move(m lane.Moves[*task]) {
	e.inbox.put(m.Start...)
	for _, p := range m.Park {
		e.park(p.Value, p.Due, whyLane)
	}
}

// park gives a command back to the broker until due, and with it those of its line that would only wait for it. No attempt
// is used up. The first time it is recorded, so that it can be seen; one in a line each time, since the others of the line go
// by it.
func (e *Engine) park(t *task, due time.Time, why string) {
	e.parkBehind(e.lines.away(t, due), due)
	t.parks++
	e.book.leave(t)
	e.Metrics.parked.Inc()
	s := settlement{task: t, publish: e.delay(t.message.With(headerParks, int64(t.parks)), due), result: resultParked}
	if t.parks == 1 || t.cmd.Ordered {
		s.record = e.record(t, contract.DeliveryPending, why, nil)
		s.record.NextAttempt = due.UTC()
	}
	e.follows(s)
}
