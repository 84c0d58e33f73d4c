package replay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
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
	from, err := s.from(work)
	if err != nil {
		return err
	}
	if err := s.mark(work); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(stop, s.limits.time)
	defer cancel()
	err = archive.ReadStream(ctx, s.Names.Archive, from, func(reading context.Context, batch []rabbit.StreamMessage) error {
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

// from is where the slice begins to read.
func (s *slice) from(ctx context.Context) (rabbit.StreamOffset, error) {
	r := s.replay
	if r.Next > 0 {
		return rabbit.StreamOffset{Offset: r.Next}, nil
	}
	begin := r.Since
	if r.Delivery != "" {
		records, err := s.Store.Statuses(ctx, []string{r.Delivery})
		if err != nil {
			return rabbit.StreamOffset{}, err
		}
		if records[0] != nil {
			begin = records[0].CreatedAt
		}
		begin = widened(begin, r.Widened)
	}
	if begin.IsZero() {
		return rabbit.StreamOffset{First: true}, nil
	}
	return rabbit.StreamOffset{At: begin}, nil
}

// margins are how long before a delivery came to be its event is looked for: at first little, as most listeners keep up.
var margins = []time.Duration{time.Minute, time.Hour}

// widened is where the n-th search begins; zero stands for the beginning of the archive.
func widened(created time.Time, n int) time.Time {
	if created.IsZero() || n >= len(margins) {
		return time.Time{}
	}
	return created.Add(-margins[n])
}

// mark puts the end of the replay into the archive. The first marker that is met counts; each slice puts a further one, so that
// a replay ends also when the archive has dropped the others, or when they came to lie before its beginning.
func (s *slice) mark(ctx context.Context) error {
	marker := rabbit.Message{ID: s.replay.ID, Headers: map[string]any{HeaderMarker: s.replay.ID}, Timestamp: s.Now()}
	return s.publish(ctx, s.Names.ToArchive(marker))
}

// take works a batch of the archive off, as far as the slice goes.
func (s *slice) take(reading, work context.Context, batch []rabbit.StreamMessage) error {
	s.read = true
	batch, atEnd := untilMarker(batch, s.replay.ID, s.Names.Archive)
	found := s.wanted(batch)
	sends, err := s.decide(work, found)
	if err != nil {
		return err
	}
	if err := s.sendAll(reading, work, batch, sends); err != nil {
		return err
	}
	s.pass(batch, len(batch))
	switch {
	case s.replay.Delivery != "" && len(found) > 0:
		s.found(len(sends) > 0)
	case atEnd:
		s.atEnd()
	case s.over():
	default:
		return nil
	}
	return rabbit.ErrStopReading
}

// untilMarker is the batch up to the replay's own marker, and whether it was there.
func untilMarker(batch []rabbit.StreamMessage, id, archive string) ([]rabbit.StreamMessage, bool) {
	i := slices.IndexFunc(batch, func(m rabbit.StreamMessage) bool { return isMarker(m, archive) && m.Headers[HeaderMarker] == id })
	if i < 0 {
		return batch, false
	}
	return batch[:i], true
}

// isMarker: a marker was published to the archive itself, which no event is.
func isMarker(m rabbit.StreamMessage, archive string) bool {
	_, ok := m.Headers[HeaderMarker]
	return ok && m.Exchange == "" && m.RoutingKey == archive
}

// candidate is an event of a batch that the replay may be about.
type candidate struct {
	index     int // in the batch
	command   contract.Command
	published time.Time
}

// wanted finds the events that the subscription wants now.
func (s *slice) wanted(batch []rabbit.StreamMessage) []candidate {
	var found []candidate
	for i, m := range batch {
		resource, _, _ := strings.Cut(m.RoutingKey, ".")
		if resource != s.replay.Resource || isMarker(m, s.Names.Archive) {
			continue
		}
		e, err := contract.ParseEvent(m.ContentType, m.Headers, m.Body)
		if err != nil || !contract.MatchesType(s.subscription.Types, e.Type()) {
			continue // what can't be read is a dead letter, and never was a delivery
		}
		c := contract.NewCommand(e, s.subscription.ID, resource, s.Now().UTC().Truncate(time.Millisecond))
		if s.replay.Delivery != "" && s.replay.Delivery != c.Delivery {
			continue
		}
		published := e.Time()
		if published.IsZero() {
			published = m.Timestamp
		}
		found = append(found, candidate{i, c, published})
	}
	return found
}

// decide looks the records up and keeps what is to be sent: of an event that was published twice, the first.
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
		attempt, ok := again(*s.replay, records[i], f.published)
		if !ok || s.met[f.command.Delivery] {
			continue
		}
		s.met[f.command.Delivery] = true
		if records[i] != nil {
			f.command.Created = records[i].CreatedAt
		}
		f.command.Attempt, f.command.First, f.command.Replay = attempt, attempt, s.replay.ID
		f.command.Ordered = s.subscription.Ordering == contract.OrderingSubject
		sends = append(sends, f)
	}
	return sends, nil
}

// sendAll publishes at the replay's pace. It returns rabbit.ErrStopReading when the slice is over before all are sent.
func (s *slice) sendAll(reading, work context.Context, batch []rabbit.StreamMessage, sends []candidate) error {
	for chunk := range slices.Chunk(sends, s.limits.chunk) {
		if s.over() || s.limits.pace(reading, len(chunk)) != nil {
			s.pass(batch, chunk[0].index)
			return rabbit.ErrStopReading
		}
		if err := s.send(work, chunk); err != nil {
			s.pass(batch, chunk[0].index)
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

// pass notes that the first n of the batch are done with.
func (s *slice) pass(batch []rabbit.StreamMessage, n int) {
	if n == 0 {
		return
	}
	s.replay.Next = batch[n-1].Offset + 1
	s.replay.Scanned += int64(n)
	s.Metrics.scanned.Add(float64(n))
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

// atEnd ends the replay, or widens the search for one delivery.
func (s *slice) atEnd() {
	r := s.replay
	switch {
	case r.Delivery == "":
		s.end(contract.ReplayDone, "")
	case r.Widened < len(margins):
		r.Widened++
		r.Next = 0
	default:
		s.end(contract.ReplayDone, reasonNotFound)
	}
}
