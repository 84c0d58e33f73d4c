package delivery

import (
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// task is one command on its way through the stages.
type task struct {
	cmd contract.Command
	// message is the command as it came.
	message rabbit.Message
	size    int
	arrived time.Time // from the broker
	// resource is the subscription's, once that was read: what a command says of it may be anything.
	resource string
	parks    int  // how often it was parked before
	rests    int  // how often the gateway could not be asked for it
	first    bool // in its line, as Redis said
	// laned says that it is in its lane, or has a slot of it.
	laned bool
	// returning says that it was parked, and its lane does not know yet that it is back.
	returning bool
	// msg is what there is to settle, and leaving that the same command comes again; both are the book's.
	msg     *rabbit.Delivery
	leaving bool
}

// book knows which commands are held in this process, one for each delivery.
//
// After a lost connection the broker hands out again what is still under way here. The new handout then takes the place of
// the lost one: the call goes on, and what follows from it settles the new handout.
type book struct {
	mu   sync.Mutex
	held map[string]*task
}

func newBook() *book { return &book{held: map[string]*task{}} }

// admit takes a command in, unless its delivery is here already.
func (b *book) admit(t *task) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.held[t.cmd.Delivery]
	switch {
	case old == nil || old.cmd.Attempt < t.cmd.Attempt || old.leaving && old.cmd.Attempt == t.cmd.Attempt:
		b.held[t.cmd.Delivery] = t
		return true
	case old.cmd.Attempt == t.cmd.Attempt && old.msg.Lost():
		old.msg.Ack() // tells nobody, but ends the wait for it
		old.msg = t.msg
	default:
		t.msg.Ack() // a copy: the one that is here stays with the broker until it is settled
	}
	return false
}

func (b *book) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.held)
}

// leave notes that a command is parked: what comes next for its delivery is the same command, and no copy. It can come before
// the one that leaves has been settled.
func (b *book) leave(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.leaving = true
}

// close ends a command and returns what is to be settled for it. Nothing takes its place any more.
func (b *book) close(t *task) *rabbit.Delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[t.cmd.Delivery] == t {
		delete(b.held, t.cmd.Delivery)
	}
	return t.msg
}

// closeLost ends a command that the broker hands out again by itself; false: it did not lose it, or did so already.
func (b *book) closeLost(t *task) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !t.msg.Lost() {
		return false
	}
	t.msg.Ack() // tells nobody, but ends the wait for it
	if b.held[t.cmd.Delivery] == t {
		delete(b.held, t.cmd.Delivery)
	}
	return true
}
