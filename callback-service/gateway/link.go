package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// idleTimeout is below the gateway's keep-alive of 60 s.
	idleTimeout = 30 * time.Second
	// answerBuffer holds the head of a usual answer. One is held by each call in flight.
	answerBuffer = 1 << 10
)

// links are the connections to one gateway. A call reads and writes its own connection: net/http keeps two goroutines and
// two buffers for each, which for ten thousand calls that hang is most of what they cost.
type links struct {
	address string
	secure  *tls.Config // nil: plain
	most    int         // idle ones that are kept

	mu    sync.Mutex
	idle  []*link // the one that was used last comes last
	sweep *time.Timer
}

type link struct {
	net.Conn
	raw  syscall.RawConn
	used time.Time
}

// get returns an idle connection on which the gateway has not hung up, or a new one.
func (l *links) get(ctx context.Context, deadline time.Time) (*link, error) {
	for {
		kept := l.pop()
		if kept == nil {
			return l.dial(ctx, deadline)
		}
		// The deadline first: that of the call before may have passed.
		if kept.SetDeadline(deadline) == nil && time.Since(kept.used) < idleTimeout && kept.quiet() {
			return kept, nil
		}
		_ = kept.Close()
	}
}

func (l *links) pop() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.idle) - 1
	if last < 0 {
		return nil
	}
	kept := l.idle[last]
	l.idle[last], l.idle = nil, l.idle[:last]
	return kept
}

func (l *links) dial(ctx context.Context, deadline time.Time) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", l.address)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if l.secure != nil {
		secured := tls.Client(conn, l.secure)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", errors.Join(err, conn.Close()))
		}
		conn = secured
	}
	return &link{Conn: conn, raw: raw}, conn.SetDeadline(deadline)
}

// quiet reports whether an idle connection has nothing to read: neither the gateway's goodbye nor an answer to nothing.
func (k *link) quiet() bool {
	quiet := false
	err := k.raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		quiet = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return quiet && err == nil
}

// put keeps a connection for the next call.
func (l *links) put(k *link) {
	k.used = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.idle) >= l.most {
		_ = k.Close()
		return
	}
	l.idle = append(l.idle, k)
	if l.sweep == nil {
		l.sweep = time.AfterFunc(idleTimeout, l.clean)
	}
}

// clean closes what has been idle for too long, and comes again while there is more.
func (l *links) clean() {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := 0
	for old < len(l.idle) && time.Since(l.idle[old].used) >= idleTimeout {
		_ = l.idle[old].Close()
		old++
	}
	l.idle = append([]*link(nil), l.idle[old:]...)
	if l.sweep = nil; len(l.idle) > 0 {
		l.sweep = time.AfterFunc(idleTimeout, l.clean)
	}
}

// close closes the idle connections.
func (l *links) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.idle {
		_ = k.Close()
	}
	if l.idle = nil; l.sweep != nil {
		l.sweep.Stop()
		l.sweep = nil
	}
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, answerBuffer) }}

// post is what http.ReadResponse needs to know of the request.
var post = &http.Request{Method: http.MethodPost}

// maxInterim bounds the 1xx answers before the answer.
const maxInterim = 5

// exchange writes a request, lets go of it and reads the answer's head and what take wants of its body. The connection is
// kept if the body was read to its end.
func (l *links) exchange(ctx context.Context, request *bytes.Buffer, deadline time.Time, take func(*http.Response) (ended bool)) error {
	k, err := l.get(ctx, deadline)
	if err != nil {
		release(request)
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = k.SetDeadline(time.Unix(1, 0)) })
	ended, err := k.talk(request, take)
	if !stop() || !ended || err != nil {
		_ = k.Close()
	} else {
		l.put(k)
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (k *link) talk(request *bytes.Buffer, take func(*http.Response) bool) (ended bool, err error) {
	_, err = k.Write(request.Bytes())
	release(request)
	if err != nil {
		return false, fmt.Errorf("sending: %w", err)
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(k.Conn)
	defer func() { r.Reset(nil); readers.Put(r) }()
	for range maxInterim {
		resp, err := http.ReadResponse(r, post) //nolint:bodyclose // to close it would read all the rest; the connection is closed instead
		if err != nil {
			return false, fmt.Errorf("reading the answer: %w", err)
		}
		if resp.StatusCode >= http.StatusOK {
			return take(resp) && !resp.Close, nil
		}
	}
	return false, errors.New("reading the answer: it never comes")
}
