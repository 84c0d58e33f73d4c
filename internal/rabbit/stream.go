package rabbit

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// ErrStopReading is what a handler of ReadStream returns to end it without an error.
var ErrStopReading = errors.New("stop reading")

const (
	// streamPrefetch is how many messages the broker sends ahead of the reader: a pack of events may have a megabyte.
	streamPrefetch = 20
	// streamOffset is an argument when subscribing, and a header of what is delivered.
	streamOffset = "x-stream-offset"
)

// StreamOffset says where in a stream to begin: at the very first message, at a time or at an offset. The zero value is
// offset 0. What the stream has dropped since is passed over.
type StreamOffset struct {
	Offset int64
	// At begins with the chunk of messages that the time falls into: some earlier ones come first.
	At    time.Time
	First bool
}

func (o StreamOffset) argument() any {
	switch {
	case o.First:
		return "first"
	case !o.At.IsZero():
		return o.At
	default:
		return o.Offset
	}
}

// StreamMessage is a message of a stream, and where it stands there.
type StreamMessage struct {
	Message
	Offset int64
}

// ReadStream calls handle with what a stream holds and, once it has read all that, with what comes; one call at a time,
// in order, no offset twice. It has a connection of its own. After a loss it goes on after the last message that handle
// took by returning nil.
//
// It returns nil when ctx ends or handle returns ErrStopReading, else handle's error or one of Consume's.
func (c *Conn) ReadStream(ctx context.Context, queue string, from StreamOffset, handle func(context.Context, []StreamMessage) error) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	r := &streamReader{from: from, handle: handle, stop: stop}
	r.last.Store(-1)
	k := newConsumer(queue, ConsumeOptions{Prefetch: streamPrefetch, HandOver: true}.withDefaults(), c.log)
	k.args = r.arguments
	err := c.consume(reading, k, func(_ context.Context, batch []*Delivery) { r.read(reading, batch) })
	if err != nil || ctx.Err() != nil && errors.Is(r.err, ctx.Err()) {
		return err
	}
	return r.err
}

// streamReader is one call of ReadStream.
type streamReader struct {
	from   StreamOffset
	handle func(context.Context, []StreamMessage) error
	stop   func()
	last   atomic.Int64 // the offset that handle took last, -1 before the first
	err    error
}

// arguments subscribe anew where handle stands.
func (r *streamReader) arguments() amqp.Table {
	if last := r.last.Load(); last >= 0 {
		return amqp.Table{streamOffset: last + 1}
	}
	return amqp.Table{streamOffset: r.from.argument()}
}

// read hands a batch on. Acknowledging does nothing to a stream: it lets the broker send more.
func (r *streamReader) read(ctx context.Context, batch []*Delivery) {
	defer AckAll(batch)
	messages := r.fresh(batch)
	if len(messages) == 0 {
		return
	}
	if err := r.handle(ctx, messages); err != nil {
		r.end(err)
		return
	}
	r.last.Store(messages[len(messages)-1].Offset)
}

// fresh leaves out what handle has taken already, as when the connection was lost while it did. The broker puts an offset on
// everything: it refuses to subscribe like this to what is no stream.
func (r *streamReader) fresh(batch []*Delivery) []StreamMessage {
	messages, last := make([]StreamMessage, 0, len(batch)), r.last.Load()
	for _, d := range batch {
		offset, _ := d.Headers[streamOffset].(int64)
		delete(d.Headers, streamOffset)
		if offset > last {
			messages, last = append(messages, StreamMessage{Message: d.Message, Offset: offset}), offset
		}
	}
	return messages
}

func (r *streamReader) end(err error) {
	if !errors.Is(err, ErrStopReading) {
		r.err = err
	}
	r.stop()
}
