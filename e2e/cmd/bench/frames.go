package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// frameCounter stands between the services and the broker and counts what passes.
type frameCounter struct {
	broker   string
	listener net.Listener
	running  sync.WaitGroup

	sent, received frames // as the services see it
}

// frames of one direction.
type frames struct {
	all      atomic.Int64
	messages atomic.Int64 // each has one header frame
	reads    atomic.Int64 // about as many as the other side has written at once
}

func countFrames(ctx context.Context, broker string) (*frameCounter, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the broker's clients: %w", err)
	}
	c := &frameCounter{broker: broker, listener: listener}
	c.running.Go(c.accept)
	return c, nil
}

func (c *frameCounter) address() string { return c.listener.Addr().String() }

// close returns once all clients are gone.
func (c *frameCounter) close() {
	_ = c.listener.Close()
	c.running.Wait()
}

func (c *frameCounter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return // closed
		}
		c.running.Go(func() { c.join(client) })
	}
}

// join connects a client with the broker until one of them ends.
func (c *frameCounter) join(client net.Conn) {
	defer func() { _ = client.Close() }()
	broker, err := net.Dial("tcp", c.broker) //nolint:noctx // it ends with its client
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	var both sync.WaitGroup
	const greeting = len("AMQP\x00\x00\x09\x01")
	both.Go(func() {
		defer broker.Close()
		c.sent.count(io.TeeReader(&readCounter{client, &c.sent}, broker), greeting)
	})
	both.Go(func() {
		defer client.Close()
		c.received.count(io.TeeReader(&readCounter{broker, &c.received}, client), 0)
	})
	both.Wait()
}

type readCounter struct {
	io.Reader
	of *frames
}

func (r *readCounter) Read(p []byte) (int, error) {
	r.of.reads.Add(1)
	return r.Reader.Read(p)
}

// Frame types of AMQP 0-9-1.
const (
	frameHeader    = 2
	frameHeartbeat = 8
)

// count reads frames until the stream ends: a type, a channel and a size, as many bytes, an end mark.
func (f *frames) count(from io.Reader, skip int) {
	in := bufio.NewReaderSize(from, 64<<10)
	if _, err := in.Discard(skip); err != nil {
		return
	}
	var head [7]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		switch head[0] {
		case frameHeartbeat:
		case frameHeader:
			f.messages.Add(1)
			fallthrough
		default:
			f.all.Add(1)
		}
		if _, err := in.Discard(int(binary.BigEndian.Uint32(head[3:])) + 1); err != nil {
			return
		}
	}
}
