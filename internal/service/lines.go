package service

import (
	"io"
	"os"
	"sync"
	"time"
)

const (
	// lateness is how long a line waits for others that are written with it.
	lateness = 20 * time.Millisecond
	// mostLines bounds what waits, in bytes. Who logs more waits too: no line is lost.
	mostLines = 8 << 20
	// keptLines is the largest buffer that is worth keeping.
	keptLines = 1 << 20
)

// stderr is where all loggers of a process write, so that their lines keep their order.
var stderr = newLines(os.Stderr)

// lines hands on what is logged in pieces, beside the work: a disk that takes nothing for a moment does not hold up who logs,
// and many lines are one write. What is logged in the last 20 ms before the process is killed is lost.
type lines struct {
	writing sync.Mutex // held while a piece is written, so that pieces keep their order
	to      io.Writer

	mu      sync.Mutex
	waiting []byte
	spare   []byte
	due     bool // somebody comes for what waits
	room    *sync.Cond
}

func newLines(to io.Writer) *lines {
	l := &lines{to: to}
	l.room = sync.NewCond(&l.mu)
	return l
}

// Write keeps a copy. It never fails: there is nowhere to say so.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > mostLines {
		l.room.Wait()
	}
	l.waiting = append(l.waiting, line...)
	if !l.due {
		l.due = true
		time.AfterFunc(lateness, l.hand)
	}
	return len(line), nil
}

// Sync returns when all is written that was logged before.
func (l *lines) Sync() error {
	l.hand()
	return nil
}

func (l *lines) hand() {
	l.writing.Lock()
	defer l.writing.Unlock()
	piece := l.take()
	if len(piece) > 0 {
		_, _ = l.to.Write(piece)
	}
	l.giveBack(piece)
}

func (l *lines) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	piece := l.waiting
	l.waiting, l.spare, l.due = l.spare[:0], nil, false
	l.room.Broadcast()
	return piece
}

func (l *lines) giveBack(piece []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if cap(piece) <= keptLines {
		l.spare = piece
	}
}
