package replay

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/expr"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// HeaderMarker is on the message in the archive at which a replay ends; its value is the replay's id.
const HeaderMarker = "x-webhook-marker"

// Reasons of replays that sent less than was asked for.
const (
	reasonNotFound = "the event is no longer in the archive"
	reasonSettled  = "the delivery is under way, or was attempted since"
	reasonGone     = "the subscription is gone"
)

// slice is a part of a replay, done in one go.
type slice struct {
	*Worker
	replay *contract.Replay
	limits sliceLimits
	lost   func() bool

	subscription contract.Subscription
	read         bool            // anything at all
	met          map[string]bool // the deliveries that were decided to be sent
	sent         int
}

func (w *Worker) slice(r *contract.Replay, lost func() bool) *slice {
	limits := w.limits
	if limits.pace == nil {
		limits = newLimits(w.Rate)
	}
	return &slice{Worker: w, replay: r, limits: limits, lost: lost, met: map[string]bool{}}
}

// run changes the replay, also when it returns an error.
func (s *slice) run(stop, work context.Context, archive Archive) error {
	if err := s.checkSubscription(work); err != nil || s.replay.State != contract.ReplayRunning {
		return err
	}
	if err := s.mark(work); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stop, s.limits.time)
	defer cancel()
	err := archive.ReadStream(ctx, s.Names.Archive, s.from(), func(reading context.Context, batch []rabbit.StreamMessage) error {
		return s.take(reading, work, batch)
	})
	if err == nil && !s.read && stop.Err() == nil {
		s.replay.Next = 0 // not even the marker came: where the replay would go on, the archive is another one now
	}
	return err
}

func (s *slice) checkSubscription(ctx context.Context) (err error) {
	s.subscription, err = s.Store.Subscription(ctx, s.replay.Subscription)
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.end(contract.ReplayCanceled, reasonGone)
		return nil
	case errors.Is(err, store.ErrDamaged):
		s.end(contract.ReplayCanceled, "the subscription can't be read")
		return nil
	case err == nil && s.subscription.Status != contract.StatusActive:
		s.end(contract.ReplayCanceled, "the subscription is "+string(s.subscription.Status))
	}
	return err
}

func (s *slice) end(state contract.ReplayState, reason string) {
	s.replay.State = state
	if reason != "" {
		s.replay.Reason = reason
	}
}

// margin is how far before Since the reading begins: the broker's clock, by which it finds a time, may be ahead of the listener's.
const margin = time.Minute

// from is where the slice begins to read.
func (s *slice) from() rabbit.StreamOffset {
	if s.replay.Next > 0 {
		offset, _ := s.replay.Place()
		return rabbit.StreamOffset{Offset: offset}
	}
	return rabbit.StreamOffset{At: s.replay.Since.Add(-margin)}
}

// mark puts the end of the replay into the archive. The first marker that is met counts; each slice puts a further one, so that
// a replay ends also when the archive has dropped the others, or when they came to lie before its beginning.
func (s *slice) mark(ctx context.Context) error {
	if err := s.letArchive(ctx); err != nil {
		return err
	}
	marker := rabbit.Message{ID: s.replay.ID, Headers: map[string]any{HeaderMarker: s.replay.ID}, Timestamp: s.Now()}
	return s.publish(ctx, s.Names.ToArchive(marker))
}

// archiveLag is how long after its commands an event is in the archive, as a rule.
const archiveLag = 250 * time.Millisecond

// letArchive waits until what was delivered when the replay was asked for is in the archive too.
func (s *slice) letArchive(ctx context.Context) error {
	service.Pause(ctx, min(archiveLag, s.replay.CreatedAt.Add(archiveLag).Sub(s.Now())))
	return ctx.Err()
}

// take works a batch of the archive off, as far as the slice goes.
func (s *slice) take(reading, work context.Context, batch []rabbit.StreamMessage) error {
	s.read = true
	batch, atEnd := untilMarker(batch, s.replay.ID)
	for len(batch) > 0 {
		events, n := s.unpack(batch)
		if err := s.handle(reading, work, events); err != nil {
			return err
		}
		s.replay.Next = contract.Position(batch[n-1].Offset+1, 0)
		if s.replay.State != contract.ReplayRunning || s.over() {
			return rabbit.ErrStopReading
		}
		batch = batch[n:]
	}
	if !atEnd {
		return nil
	}
	s.atEnd()
	return rabbit.ErrStopReading
}

// untilMarker is the batch up to the replay's own marker, and whether it was there.
func untilMarker(batch []rabbit.StreamMessage, id string) ([]rabbit.StreamMessage, bool) {
	i := slices.IndexFunc(batch, func(m rabbit.StreamMessage) bool { return m.Headers[HeaderMarker] == id })
	if i < 0 {
		return batch, false
	}
	return batch[:i], true
}

// archived is an event of the archive, and where the replay goes on after it.
type archived struct {
	contract.Archived
	next int64
}

// atOnce is how many events, from how many packs it takes, are looked up at a time. The last pack may bring some more.
const atOnce = 500

// unpack returns the events of the first packs of a batch, without those that are done with, and how many packs these are.
func (s *slice) unpack(batch []rabbit.StreamMessage) (events []archived, n int) {
	offset, done := s.replay.Place()
	for n < len(batch) && len(events) < atOnce {
		m := batch[n]
		n++
		found := s.open(m)
		for i, a := range found {
			if m.Offset == offset && i < done {
				continue
			}
			next := contract.Position(m.Offset, i+1)
			if i+1 == len(found) {
				next = contract.Position(m.Offset+1, 0)
			}
			events = append(events, archived{a, next})
		}
	}
	return events, n
}

// open reads a pack. What is none says so in the log, unless it is another replay's marker.
func (s *slice) open(m rabbit.StreamMessage) []contract.Archived {
	if _, marker := m.Headers[HeaderMarker]; marker {
		return nil
	}
	events, err := contract.DecodePack(m.ContentType, m.Body)
	if err != nil {
		s.Log.Error("a message of the archive is passed over", zap.String("replay", s.replay.ID), zap.Int64("offset", m.Offset), zap.Error(err))
	}
	return events
}

// handle asks for the deliveries of some events again. It returns rabbit.ErrStopReading when the slice is over before it is done.
func (s *slice) handle(reading, work context.Context, events []archived) error {
	found := s.wanted(events)
	sends, err := s.decide(work, found)
	if err != nil {
		return err
	}
	if err := s.sendAll(reading, work, events, sends); err != nil {
		return err
	}
	s.pass(events)
	if s.replay.Delivery != "" && len(found) > 0 {
		s.found(len(sends) > 0)
	}
	return nil
}

// candidate is an event that the replay may be about, and its place among those looked up with it.
type candidate struct {
	index   int
	command contract.Command
}

// wanted finds the events that the subscription wants now.
func (s *slice) wanted(events []archived) []candidate {
	var found []candidate
	for i, a := range events {
		if a.Resource != s.replay.Resource || !contract.MatchesType(s.subscription.Types, a.Type()) {
			continue
		}
		e, err := a.Event()
		if err != nil {
			s.Log.Error("an event of the archive is passed over", zap.String("replay", s.replay.ID), zap.Error(err))
			continue
		}
		c := contract.NewCommand(e, s.subscription.ID, a.Resource, a.Taken)
		if s.replay.Delivery == c.Delivery || s.replay.Delivery == "" && s.passes(c) {
			found = append(found, candidate{i, c})
		}
	}
	return found
}

// passes puts an event to the subscription's filter, as the listener does. One delivery that is asked for by name needs no more.
func (s *slice) passes(c contract.Command) bool {
	if s.subscription.Filter == "" {
		return true
	}
	filter, err := s.Filters.Filter(s.subscription.Filter)
	if err != nil {
		return false
	}
	is, err := filter.Match(expr.NewVars(c.Event))
	return is && err == nil
}

// decide looks the records up and keeps what is to be sent: of an event that was archived twice, the first.
func (s *slice) decide(ctx context.Context, found []candidate) ([]candidate, error) {
	if len(found) == 0 {
		return nil, nil
	}
	ids := make([]string, len(found))
	for i, f := range found {
		ids[i] = f.command.Delivery
	}
	records, err := s.Store.Statuses(ctx, ids)
	if err != nil {
		return nil, err
	}
	sends := make([]candidate, 0, len(found))
	for i, f := range found {
		attempt, ok := again(*s.replay, records[i], f.command.Created)
		if !ok || s.met[f.command.Delivery] {
			continue
		}
		s.met[f.command.Delivery] = true
		if records[i] != nil {
			f.command.Created = records[i].CreatedAt
		}
		f.command.Attempt, f.command.First, f.command.Replay = attempt, attempt, s.replay.ID
		f.command.Ordered, f.command.Pull = s.subscription.Ordering == contract.OrderingSubject, s.subscription.Pulls()
		sends = append(sends, f)
	}
	return sends, nil
}

// sendAll publishes at the replay's pace. It returns rabbit.ErrStopReading when the slice is over before all are sent.
func (s *slice) sendAll(reading, work context.Context, events []archived, sends []candidate) error {
	for chunk := range slices.Chunk(sends, s.limits.chunk) {
		if s.over() || s.limits.pace(reading, len(chunk)) != nil {
			s.pass(events[:chunk[0].index])
			return rabbit.ErrStopReading
		}
		if err := s.send(work, chunk); err != nil {
			s.pass(events[:chunk[0].index])
			return err
		}
	}
	return nil
}

// send lines ordered deliveries up and publishes the commands.
func (s *slice) send(ctx context.Context, chunk []candidate) error {
	var places []store.Place
	messages := make([]rabbit.Message, len(chunk))
	for i, c := range chunk {
		messages[i] = s.Names.ToCommands(rabbit.CommandMessage(c.command))
		if line := c.command.Line(); line != "" {
			places = append(places, store.Place{Line: line, Delivery: c.command.Delivery})
		}
	}
	if len(places) > 0 {
		if err := s.Store.JoinLines(ctx, places); err != nil {
			return err
		}
	}
	err := s.publish(ctx, messages...)
	switch {
	case err == nil:
		s.count(len(chunk))
		return nil
	case !errors.Is(err, rabbit.ErrTooLarge):
		return err
	case len(chunk) == 1:
		return s.tooLarge(ctx, chunk[0].command, err)
	}
	for i := range chunk { // one by one, so that it holds nobody up
		if err := s.send(ctx, chunk[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// tooLarge leaves out what the listener has made a dead letter of.
func (s *slice) tooLarge(ctx context.Context, c contract.Command, cause error) error {
	s.Log.Warn("an event is too large for a callback command", zap.String("replay", s.replay.ID), zap.String("delivery", c.Delivery), zap.Error(cause))
	if !c.Ordered {
		return nil
	}
	return s.Store.LeaveLine(ctx, c.Line(), c.Delivery)
}

func (s *slice) count(n int) {
	s.sent += n
	s.replay.Sent += int64(n)
	s.Metrics.commands.Add(float64(n))
}

// pass notes that events are done with.
func (s *slice) pass(events []archived) {
	if len(events) == 0 {
		return
	}
	last := events[len(events)-1]
	s.replay.Next, s.replay.Reached = last.next, last.Taken
	s.replay.Scanned += int64(len(events))
	s.Metrics.scanned.Add(float64(len(events)))
}

func (s *slice) over() bool { return s.sent >= s.limits.commands || s.lost() }

// found ends the search for one delivery.
func (s *slice) found(sent bool) {
	reason := ""
	if !sent {
		reason = reasonSettled
	}
	s.end(contract.ReplayDone, reason)
}

// atEnd ends the replay.
func (s *slice) atEnd() {
	reason := ""
	if s.replay.Delivery != "" {
		reason = reasonNotFound
	}
	s.end(contract.ReplayDone, reason)
}
