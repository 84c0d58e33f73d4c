package rabbit

import (
	"bufio"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writeTimeout = 15 * time.Second // one write to the socket
	readBuffer   = 32 << 10
	// corkSize is how much a corked socket holds back.
	corkSize = 64 << 10
	// deadlineGrain is by how much the read deadline may be early: the library moves it with every frame.
	deadlineGrain = time.Second
)

// socket is the TCP connection under a link. The library writes to it once for each message and each outcome, and reads
// little at a time; here a batch becomes one system call.
//
// Every write gets a deadline: the library holds locks while it writes, and a broker that stopped reading would otherwise
// keep even its shutdown waiting for them.
type socket struct {
	net.Conn
	in             *bufio.Reader
	sent, received frames

	mu    sync.Mutex // held while writing
	corks int
	out   []byte
	err   error // of a write that the library was told had worked

	deadlineMu sync.Mutex
	deadline   time.Time
}

// newSocket counts the frames unless counter is nil.
func newSocket(c net.Conn, counter *frameCounter) *socket {
	s := &socket{Conn: c, in: bufio.NewReaderSize(c, readBuffer)}
	if counter != nil {
		s.sent = frames{total: &counter.sent, left: len("AMQP0091")} // what a client says first is no frame
		s.received = frames{total: &counter.received}
	}
	return s
}

func (s *socket) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	s.received.count(b[:n])
	return n, err
}

func (s *socket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.sent.count(b)
	if s.corks > 0 && len(s.out)+len(b) <= corkSize {
		s.out = append(s.out, b...)
		return len(b), nil
	}
	if err := s.flush(); err != nil {
		return 0, err
	}
	return s.write(b)
}

// cork holds back what is written, up to a limit, until uncork. Both may be called by several at a time.
func (s *socket) cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corks++
}

func (s *socket) uncork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corks--
	return s.flush()
}

// flush is called with mu held.
func (s *socket) flush() error {
	if len(s.out) > 0 && s.err == nil {
		_, s.err = s.write(s.out)
	}
	s.out = s.out[:0]
	return s.err
}

func (s *socket) write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

// SetDeadline is used around the opening handshake.
func (s *socket) SetDeadline(t time.Time) error {
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	s.deadline = t
	return s.Conn.SetDeadline(t)
}

func (s *socket) SetReadDeadline(t time.Time) error {
	s.deadlineMu.Lock()
	defer s.deadlineMu.Unlock()
	if later := t.Sub(s.deadline); !s.deadline.IsZero() && later >= 0 && later < deadlineGrain {
		return nil
	}
	s.deadline = t
	return s.Conn.SetReadDeadline(t)
}

// frameCounter counts over all sockets of a Conn.
type frameCounter struct{ sent, received atomic.Uint64 }

// frames counts the frames of one direction. Each begins with seven bytes, the last four of them its size, and has a byte
// after its end.
type frames struct {
	total  *atomic.Uint64 // nil: don't count
	left   int            // bytes to the end of the frame
	header [7]byte
	have   int
}

func (f *frames) count(b []byte) {
	if f.total == nil {
		return
	}
	for len(b) > 0 {
		if f.left > 0 {
			n := min(f.left, len(b))
			f.left, b = f.left-n, b[n:]
			continue
		}
		n := copy(f.header[f.have:], b)
		f.have, b = f.have+n, b[n:]
		if f.have == len(f.header) {
			f.have, f.left = 0, int(binary.BigEndian.Uint32(f.header[3:]))+1
			f.total.Add(1)
		}
	}
}
