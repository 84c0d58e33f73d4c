package rabbit

import (
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// session is a subscription on one incarnation of a channel. Delivery tags mean something only
// within it: sent later, they would settle other messages or make the broker close the channel.
type session struct {
	ch   *amqp.Channel
	name string // the consumer tag
	cork func() func() error
	over chan struct{} // closed with the session

	mu    sync.Mutex // held while a frame is sent, so that end returns only when none is on its way
	ended bool
	// low is the highest tag below which all are settled; settled are those above it.
	low     uint64
	settled map[uint64]struct{}
	// soon are settled too, but the broker is yet to be told.
	soon []uint64
}

const (
	// ackWithin is how soon the broker is told at the latest of what AckSoon settled, and mostSoon of how many at once. An
	// acknowledgement costs a quorum queue as much as a message.
	ackWithin = 50 * time.Millisecond
	mostSoon  = 256
)

func newSession(ch *amqp.Channel, name string, cork func() func() error) *session {
	return &session{ch: ch, name: name, cork: cork, over: make(chan struct{}), settled: map[uint64]struct{}{}}
}

func (s *session) alive() bool {
	select {
	case <-s.over:
		return false
	default:
		return true
	}
}

func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.soon = true, nil
		close(s.over)
	}
}

// refuse gives a delivery back: to its queue, or else to the queue's dead letters.
func (s *session) refuse(tag uint64, requeue bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.mark(tag)
	_ = s.ch.Nack(tag, false, requeue) // an error means that the connection is gone, and with it the delivery
}

// ack acknowledges tags, and with them those that were to be acknowledged soon.
func (s *session) ack(tags []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.soon = append(s.soon, tags...)
	s.flush()
}

// ackSoon acknowledges tags together with others.
func (s *session) ackSoon(tags []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(tags) == 0 {
		return
	}
	if len(s.soon) == 0 {
		time.AfterFunc(ackWithin, func() { s.ack(nil) })
	}
	if s.soon = append(s.soon, tags...); len(s.soon) >= mostSoon {
		s.flush()
	}
}

// flush is called with mu held. It acknowledges in one frame all tags up to which nothing is left unsettled, the rest one by
// one.
func (s *session) flush() {
	tags := s.soon
	s.soon = nil
	if s.ended || len(tags) == 0 {
		return
	}
	slices.Sort(tags)
	for _, tag := range tags {
		s.mark(tag)
	}
	uncork := s.cork()
	defer func() { _ = uncork() }() // an error means that the connection is gone, and with it the deliveries
	n, found := slices.BinarySearch(tags, s.low)
	if found {
		n++
	}
	if n > 0 {
		_ = s.ch.Ack(tags[n-1], n > 1)
	}
	for _, tag := range tags[n:] {
		_ = s.ch.Ack(tag, false)
	}
}

func (s *session) mark(tag uint64) {
	s.settled[tag] = struct{}{}
	for {
		if _, ok := s.settled[s.low+1]; !ok {
			return
		}
		s.low++
		delete(s.settled, s.low)
	}
}
