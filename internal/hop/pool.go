package hop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// Pool keeps connections to one address. It is safe for concurrent use.
type Pool struct {
	// Dial makes a connection: a *net.TCPConn, a *tls.Conn over one, or what has the SyscallConn of one.
	Dial func(context.Context) (net.Conn, error)
	// Most is how many idle connections are kept.
	Most int
	// Idle is for how long. It must be shorter than the other side keeps them: a request that meets its goodbye is lost.
	Idle time.Duration

	mu     sync.Mutex
	idle   []*link // the one that was used last comes last
	sweep  *time.Timer
	closed bool
}

type link struct {
	net.Conn
	socket syscall.RawConn
	used   time.Time
}

// get returns an idle connection on which the other side has not hung up, or a new one.
func (p *Pool) get(ctx context.Context) (*link, error) {
	for {
		kept := p.pop()
		if kept == nil {
			return p.connect(ctx)
		}
		if time.Since(kept.used) < p.Idle && quiet(kept.socket) {
			return kept, nil
		}
		_ = kept.Close()
	}
}

func (p *Pool) pop() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	kept := p.idle[last]
	p.idle[last], p.idle = nil, p.idle[:last]
	return kept
}

func (p *Pool) connect(ctx context.Context) (*link, error) {
	c, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	socket, err := socketOf(c)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", errors.Join(err, c.Close()))
	}
	return &link{Conn: c, socket: socket}, nil
}

// put keeps a connection for the next call.
func (p *Pool) put(l *link) {
	l.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= p.Most {
		_ = l.Close()
		return
	}
	p.idle = append(p.idle, l)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.Idle, p.trim)
	}
}

// trim closes what has been idle for too long, and comes again while there is more.
func (p *Pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := 0
	for old < len(p.idle) && time.Since(p.idle[old].used) >= p.Idle {
		_ = p.idle[old].Close()
		old++
	}
	p.idle = append([]*link(nil), p.idle[old:]...)
	if p.sweep = nil; len(p.idle) > 0 {
		p.sweep = time.AfterFunc(p.Idle, p.trim)
	}
}

// Close closes the idle connections and keeps no more. Calls under way go on.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.idle {
		_ = l.Close()
	}
	if p.idle, p.closed = nil, true; p.sweep != nil {
		p.sweep.Stop()
	}
}
