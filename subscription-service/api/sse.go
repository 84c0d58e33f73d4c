package api

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"
)

const mediaEvents = "text/event-stream"

// sse is one server-sent event (HTML, section 9.2).
type sse struct {
	// ID is what a client that comes back sends as Last-Event-ID; empty: it keeps the one it has. It has no line ends.
	ID string
	// Name is the event's type; empty for "message". It has no line ends.
	Name string
	Data []byte
	// More are further lines, which parsers of event streams leave alone.
	More []sseField
}

// sseField is one line; the value has no line ends.
type sseField struct{ Name, Value string }

// appendTo writes the event. An event without data would be none to a parser, so that there is always a line of it.
func (e sse) appendTo(b []byte) []byte {
	if e.ID != "" {
		b = appendField(b, "id", e.ID)
	}
	if e.Name != "" {
		b = appendField(b, "event", e.Name)
	}
	for _, more := range e.More {
		b = appendField(b, more.Name, more.Value)
	}
	for line := range bytes.SplitSeq(oneLineEnd(e.Data), []byte("\n")) {
		b = appendField(b, "data", string(line))
	}
	return append(b, '\n')
}

// oneLineEnd makes every line end that a parser knows the same: none may stand in the middle of a field.
func oneLineEnd(data []byte) []byte {
	if bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, '\n')
}

// eventWriter is the answer of one stream. It is safe for concurrent use.
type eventWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	most    time.Duration // for one write

	mu     sync.Mutex
	wrote  time.Time
	failed error
}

// openEvents begins the answer: the client knows that it has begun before there is an event.
func openEvents(w http.ResponseWriter, most time.Duration) *eventWriter {
	out := &eventWriter{to: w, control: http.NewResponseController(w), most: most}
	_ = out.control.SetReadDeadline(time.Time{}) // the server's own is for requests that end; who hangs up fails a write
	h := w.Header()
	h.Set("Content-Type", mediaEvents)
	h.Set("X-Accel-Buffering", "no") // to nginx: pass on what comes
	w.WriteHeader(http.StatusOK)
	out.comment("open")
	return out
}

// Send writes events and flushes them together. Its error means that the client is gone or does not read.
func (e *eventWriter) Send(events ...sse) error {
	var text []byte
	for _, event := range events {
		text = event.appendTo(text)
	}
	return e.write(text)
}

// comment writes what every parser leaves alone.
func (e *eventWriter) comment(text string) { _ = e.write([]byte(": " + text + "\n\n")) }

func (e *eventWriter) write(text []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed != nil || len(text) == 0 {
		return e.failed
	}
	for chunk := range slices.Chunk(text, writeAtOnce) {
		if e.failed = e.writeSome(chunk); e.failed != nil {
			return e.failed
		}
	}
	e.wrote = time.Now()
	return nil
}

// writeAtOnce is what a client must take within the time for one write, in bytes.
const writeAtOnce = 64 << 10

func (e *eventWriter) writeSome(chunk []byte) error {
	if err := possible(e.control.SetWriteDeadline(time.Now().Add(e.most))); err != nil {
		return err
	}
	if _, err := e.to.Write(chunk); err != nil {
		return err
	}
	return possible(e.control.Flush())
}

// possible forgives an answer that goes to no connection: in a process there is nothing to wait for.
func possible(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// beat writes a comment unless something was written within a time, so that nobody on the way takes the stream for dead.
func (e *eventWriter) beat(every time.Duration) {
	if !e.mu.TryLock() {
		return // something is being written
	}
	quiet := time.Since(e.wrote) >= every
	e.mu.Unlock()
	if quiet {
		e.comment("beat")
	}
}
