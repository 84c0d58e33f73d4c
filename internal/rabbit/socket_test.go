package rabbit

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"
)

// tape records what is written, one entry a call.
type tape struct {
	net.Conn
	writes    [][]byte
	deadlines int
	broken    error
}

func (t *tape) Write(b []byte) (int, error) {
	t.writes = append(t.writes, bytes.Clone(b))
	return len(b), t.broken
}
func (t *tape) SetWriteDeadline(time.Time) error { return nil }
func (t *tape) SetDeadline(time.Time) error      { return nil }
func (t *tape) SetReadDeadline(time.Time) error  { t.deadlines++; return nil }

func write(t *testing.T, s *socket, text string) {
	t.Helper()
	if n, err := s.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatalf("wrote %d: %v", n, err)
	}
}

func TestCorkedWritesAreOne(t *testing.T) {
	conn := &tape{}
	s := newSocket(conn, nil)
	write(t, s, "a")
	s.cork()
	s.cork()
	write(t, s, "b")
	write(t, s, "c")
	if err := s.uncork(); err != nil { // of one of two: what it wrote goes out
		t.Fatal(err)
	}
	write(t, s, "d")
	if err := s.uncork(); err != nil {
		t.Fatal(err)
	}
	write(t, s, "e")
	if got := string(bytes.Join(conn.writes, []byte("|"))); got != "a|bc|d|e" {
		t.Errorf("got %s", got)
	}
}

func TestCorkHoldsLittle(t *testing.T) {
	conn := &tape{}
	s := newSocket(conn, nil)
	s.cork()
	long := string(make([]byte, corkSize))
	write(t, s, "a")
	write(t, s, long)
	if len(conn.writes) != 2 || string(conn.writes[0]) != "a" || string(conn.writes[1]) != long {
		t.Errorf("%d writes", len(conn.writes))
	}
	if err := s.uncork(); err != nil || len(conn.writes) != 2 {
		t.Errorf("%d writes, %v", len(conn.writes), err)
	}
}

// The library believes that a corked write has worked, so nothing may be written after one that has not.
func TestFailedCorkStaysFailed(t *testing.T) {
	conn := &tape{broken: errors.New("broken")}
	s := newSocket(conn, nil)
	s.cork()
	write(t, s, "a")
	if err := s.uncork(); !errors.Is(err, conn.broken) {
		t.Errorf("got %v", err)
	}
	conn.broken, conn.writes = nil, nil
	if _, err := s.Write([]byte("b")); err == nil || len(conn.writes) > 0 {
		t.Errorf("wrote %q, %v", conn.writes, err)
	}
}

func TestReadDeadlineMovesByTheGrain(t *testing.T) {
	conn := &tape{}
	s := newSocket(conn, nil)
	at := time.Unix(1_700_000_000, 0)
	for range 100 {
		at = at.Add(deadlineGrain / 20)
		_ = s.SetReadDeadline(at)
	}
	if conn.deadlines != 5 {
		t.Errorf("set %d times", conn.deadlines)
	}
	_ = s.SetDeadline(time.Time{}) // the library lifts it: the next one counts
	_ = s.SetReadDeadline(at)
	_ = s.SetReadDeadline(at.Add(-time.Hour)) // an earlier one does, too
	if conn.deadlines != 7 {
		t.Errorf("set %d times", conn.deadlines)
	}
}

func frame(size int) []byte {
	return append([]byte{1, 0, 0, 0, 0, byte(size >> 8), byte(size)}, make([]byte, size+1)...)
}

// However the bytes are cut.
func TestFramesAreCounted(t *testing.T) {
	sent := []byte("AMQP\x00\x00\x09\x01")
	for _, size := range []int{0, 1, 300, 70, 0} {
		sent = append(sent, frame(size)...)
	}
	for step := 1; step < len(sent); step++ {
		var counter frameCounter
		s := newSocket(&tape{}, &counter)
		for b := sent; len(b) > 0; b = b[min(step, len(b)):] {
			write(t, s, string(b[:min(step, len(b))]))
		}
		if n := counter.sent.Load(); n != 5 {
			t.Fatalf("in steps of %d: %d frames", step, n)
		}
	}
}

// A message is three frames each way, its confirm and its acknowledgement one or less.
func TestFramesPerMessage(t *testing.T) {
	url := brokerURL(t)
	noLeaks(t)
	c := open(t, url)
	got, stop := collect(t, c, c.Names().Commands, ConsumeOptions{})
	eventually(t, "consuming", func() bool { return consumers(c) == 1 && c.Ready(background(t)) == nil })
	sent, received := c.Frames()
	publish(t, c, each(numbered(50), c.Names().ToCommands)...)
	var batch []*Delivery
	for range 50 {
		batch = append(batch, receive(t, got))
	}
	AckAll(batch)
	sentAfter, receivedAfter := c.Frames()
	if n := sentAfter - sent; n < 151 || n > 160 { // heartbeats may be among them
		t.Errorf("sent %d frames", n)
	}
	if n := receivedAfter - received; n < 151 || n > 210 {
		t.Errorf("received %d frames", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
