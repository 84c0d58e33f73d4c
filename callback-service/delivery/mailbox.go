package delivery

import (
	"context"

	"github.com/apisix-webhooks/apisix-webhooks/internal/callback"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tracing"
)

// Of a subscription that pulls nobody is called: neither the gateway nor a lane, which knows how fast an endpoint is, has a say. Once
// Redis has a letter, its command is done with; the delivery is pending until its consumer acknowledges it, or it is too old.

const (
	// whyMailbox is the reason of what waits at the broker for room in a mailbox.
	whyMailbox = "waits for room in the mailbox: collect and acknowledge what is there"
	// mostPosted bounds the events that are on their way into mailboxes at a time, in bytes, unless a single one has more.
	mostPosted = 8 << 20
)

func (e *Engine) inboxOf(t *task) *inbox {
	if t.cmd.Pull {
		return e.mail
	}
	return e.inbox
}

// post puts into mailboxes what goes there, a batch at a time, until background ends. stop ends when nothing new may start.
func (e *Engine) post(stop, background context.Context) {
	for {
		if n := e.mail.size(); n > 0 && n < maxBatch {
			e.posting.Wait(stop.Done(), nil)
		}
		batch := e.mail.take(maxBatch)
		switch {
		case len(batch) > 0 && stop.Err() != nil:
			e.giveBack(batch...)
			continue
		case len(batch) > 0:
			e.posting.Taken(len(batch))
			e.postBatch(stop, batch)
			continue
		}
		select {
		case <-e.mail.more:
		case <-background.Done():
			e.giveBack(e.mail.take(e.InFlight)...)
			return
		}
	}
}

func (e *Engine) postBatch(stop context.Context, batch []*task) {
	batch = e.present(batch)
	standings, err := e.standings(stop, batch)
	if err != nil {
		e.giveBack(batch...)
		return
	}
	var letters []*starting
	var deposits []store.Deposit
	size := 0
	for i, t := range batch {
		s := &starting{task: t, sub: standings[i].Subscription, log: standings[i].Log}
		if e.settles(t, standings[i]) || !e.pulls(s) {
			continue
		}
		letter, err := callback.Letter(t.cmd, s.sub, tracing.OfCommand(t.cmd), e.Transforms)
		if err != nil {
			e.follows(e.refused(s, err.Error()))
			continue
		}
		if size += t.size; size > mostPosted && len(letters) > 0 {
			e.deposit(stop, letters, deposits)
			letters, deposits, size = nil, nil, t.size
		}
		letters, deposits = append(letters, s), append(deposits, store.Deposit{Letter: letter, Subscription: s.sub.ID, Resource: s.sub.Resource})
	}
	e.deposit(stop, letters, deposits)
}

// pulls sends what came by mistake the usual way.
func (e *Engine) pulls(s *starting) bool {
	if !s.sub.Pulls() {
		s.cmd.Pull = false
		e.place(s.task, true)
		return false
	}
	return true
}

func (e *Engine) deposit(stop context.Context, letters []*starting, deposits []store.Deposit) {
	if len(letters) == 0 {
		return
	}
	var became []store.Deposited
	err := e.insist(stop, "putting letters into mailboxes", func() (err error) {
		became, err = e.Store.Deposit(stop, deposits)
		return err
	})
	for i, s := range letters {
		if err != nil {
			e.giveBack(s.task)
			continue
		}
		e.posted(stop, s, became[i])
	}
}

// posted hands on what follows from a letter.
func (e *Engine) posted(stop context.Context, s *starting, became store.Deposited) {
	switch became {
	case store.LetterThere:
		e.follows(settlement{task: s.task, result: resultMailbox, log: s.log, record: e.record(s.task, contract.DeliveryPending, contract.ReasonWaits, nil)})
	case store.LetterGone:
		e.follows(settlement{task: s.task, result: resultGone})
	case store.LetterTooLarge:
		e.follows(e.refused(s, "the event is larger than a mailbox may be: see mailbox.max_bytes in the resource's policy"))
	default:
		if s.parks > 0 && e.tooOld(stop, s) {
			e.follows(e.refused(s, "not collected in time: there was no room in the mailbox"))
			return
		}
		e.park(s.task, e.lanes.Postpone(s.sub.ID), whyMailbox)
	}
}

// tooOld reports whether a delivery has waited for as long as it may. While that is not known it has not.
func (e *Engine) tooOld(stop context.Context, s *starting) bool {
	waited := e.Now().Sub(s.cmd.Created)
	if waited < contract.MinMailboxAge {
		return false
	}
	policy, err := e.Store.Policy(stop, s.sub.Resource)
	return err == nil && waited > policy.Mailbox.Age()
}

// refused gives a delivery up for which there will be no letter. It counts as an attempt, for its next replay to be another.
func (e *Engine) refused(s *starting, reason string) settlement {
	record := e.record(s.task, contract.DeliveryFailed, reason, &contract.Attempt{Number: s.cmd.Attempt, At: e.Now().UTC(), Error: reason})
	return settlement{
		task: s.task, result: resultMailbox, record: record, log: s.log, dead: deadRequest, letter: deadLetter(s.task, *record),
		publish: append(e.dead(s.message, reason), e.exhausted(s.task, *record)),
	}
}
