package extplugin

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"
)

const (
	connectTimeout   = time.Second
	exchangeTimeout  = time.Minute // to send a message, and to receive one
	keepaliveTimeout = 180 * time.Second
	idlePerWorker    = 32
)

// maxIdle is how many idle connections APISIX keeps in all: it has one worker process per core.
var maxIdle = idlePerWorker * runtime.GOMAXPROCS(0)

// conn is a connection to the runner with the buffers that its calls reuse.
type conn struct {
	net.Conn
	r       *bufio.Reader
	buf     []byte
	builder *flatbuffers.Builder
	offsets []flatbuffers.UOffsetT
	scratch []byte
	runner  uint64 // which start of the runner it belongs to
	idle    time.Time
}

// send writes what the builder holds as one frame, in one write: the runner reads without waiting for more.
func (c *conn) send(ty byte, timeout time.Duration) error {
	out, err := frame(c.builder, ty)
	if err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("setting a deadline: %w", err)
	}
	if _, err := c.Write(out); err != nil {
		return fmt.Errorf("sending a frame: %w", err)
	}
	return nil
}

// receive reads a frame. Its data is good until the next call.
func (c *conn) receive() (byte, []byte, error) {
	ty, data, err := readFrame(c.r, c.buf)
	c.buf = data[:0]
	if err != nil {
		return 0, nil, err
	}
	if ty == typeError {
		return 0, nil, errorOf(data)
	}
	return ty, data, nil
}

// pool keeps idle connections, the last used first.
type pool struct {
	path   string
	mu     sync.Mutex
	idle   []*conn
	runner uint64
	closed bool
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	runner := p.runner
	for len(p.idle) > 0 {
		c := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(c.idle) < keepaliveTimeout {
			p.mu.Unlock()
			return c, nil
		}
		_ = c.Close()
	}
	p.mu.Unlock()
	return p.dial(ctx, runner)
}

func (p *pool) dial(ctx context.Context, runner uint64) (*conn, error) {
	d := net.Dialer{Timeout: connectTimeout}
	nc, err := d.DialContext(ctx, "unix", p.path)
	if err != nil {
		return nil, fmt.Errorf("connecting to the runner: %w", err)
	}
	return &conn{Conn: nc, r: bufio.NewReaderSize(nc, 4096), builder: flatbuffers.NewBuilder(2048), runner: runner}, nil
}

func (p *pool) put(c *conn) {
	c.idle = time.Now()
	p.mu.Lock()
	keep := !p.closed && c.runner == p.runner && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.Close()
	}
}

// reset forgets every connection: the runner they led to is gone.
func (p *pool) reset(closed bool) {
	p.mu.Lock()
	old := p.idle
	p.idle, p.closed = nil, p.closed || closed
	p.runner++
	p.mu.Unlock()
	for _, c := range old {
		_ = c.Close()
	}
}
