package hop

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxCollected is how much of an answer is collected to go out in one write.
	maxCollected = 64 << 10
	// maxPooled is the largest buffer that is worth keeping.
	maxPooled = 128 << 10
)

// reply is an http.ResponseWriter, http.ResponseController included but for hijacking. It sends no 1xx of the handler and no
// trailer, as nginx does not.
type reply struct {
	to      *peer
	request *http.Request
	body    *requestBody
	header  http.Header

	status  int
	kept    *bytes.Buffer // what is not sent yet; nil while nothing was written
	wrote   int64         // of the body
	length  int64         // that was declared once the head is sent; -1: none
	sent    bool          // the head
	chunked bool
	closes  bool // the connection ends with this answer
	failed  error
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (w *reply) Header() http.Header { return w.header }

func (w *reply) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

func (w *reply) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.sent && w.length >= 0 && w.wrote+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.wrote += int64(len(p))
	if w.request.Method == http.MethodHead {
		return len(p), w.failed
	}
	if w.kept == nil {
		w.kept = take()
	}
	w.kept.Write(p)
	if w.kept.Len() >= maxCollected {
		return len(p), w.FlushError()
	}
	return len(p), w.failed
}

func take() *bytes.Buffer {
	b := buffers.Get().(*bytes.Buffer)
	b.Reset()
	return b
}

// FlushError sends what is there.
func (w *reply) FlushError() error {
	w.WriteHeader(http.StatusOK)
	if !w.sent {
		w.frame()
	}
	return w.push(false)
}

// Flush is http.Flusher's.
func (w *reply) Flush() { _ = w.FlushError() }

// SetReadDeadline is for the request's body.
func (w *reply) SetReadDeadline(t time.Time) error { return w.to.SetReadDeadline(t) }

// finish sends what is left of the answer. Its error means that the caller does not have all of it.
func (w *reply) finish() error {
	w.WriteHeader(http.StatusOK)
	if !w.sent {
		w.end()
	}
	if err := w.push(true); err != nil {
		return err
	}
	if w.wrote < w.length && bodyAllowed(w.status) && w.request.Method != http.MethodHead {
		return errors.New("the handler wrote less than it declared")
	}
	return nil
}

// frame decides how the end of a body will be told that is not all there yet.
func (w *reply) frame() {
	if w.length = lengthOf(w.header); w.length < w.wrote {
		w.length = -1
	}
	if w.length < 0 && bodyAllowed(w.status) && w.request.Method != http.MethodHead {
		w.chunked = w.request.ProtoAtLeast(1, 1)
		w.closes = !w.chunked
	}
}

// end is frame for a body that is all there: its length is known. What was declared counts only where there is no body.
func (w *reply) end() {
	w.length = w.wrote
	if declared := lengthOf(w.header); declared >= 0 && w.wrote == 0 && (w.request.Method == http.MethodHead || w.status == http.StatusNotModified) {
		w.length = declared
	}
}

// push writes what was collected, and the head before the first of it.
func (w *reply) push(last bool) error {
	head := take()
	defer give(head)
	if !w.sent {
		w.writeHead(head)
	}
	var out net.Buffers
	if w.kept != nil && w.kept.Len() > 0 {
		if w.chunked {
			head.WriteString(strconv.FormatInt(int64(w.kept.Len()), 16) + "\r\n")
			w.kept.WriteString("\r\n")
		}
		out = net.Buffers{head.Bytes(), w.kept.Bytes()}
	} else {
		out = net.Buffers{head.Bytes()}
	}
	if last && w.chunked {
		out = append(out, []byte("0\r\n\r\n"))
	}
	return w.write(out)
}

func (w *reply) write(out net.Buffers) error {
	if w.failed == nil {
		w.failed = w.to.SetWriteDeadline(time.Now().Add(w.to.server.WriteTimeout))
	}
	if w.failed == nil {
		_, w.failed = out.WriteTo(w.to.Conn)
	}
	w.release()
	return w.failed
}

// unwritable is what a handler cannot set.
var unwritable = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Connection": true, "Trailer": true}

func (w *reply) writeHead(out *bytes.Buffer) {
	w.sent = true
	w.settle()
	fmt.Fprintf(out, "HTTP/1.1 %03d %s\r\n", w.status, http.StatusText(w.status))
	_ = w.header.WriteSubset(out, unwritable) // into memory: never fails
	if _, own := w.header["Date"]; !own {
		out.WriteString("Date: ")
		out.Write(time.Now().UTC().AppendFormat(out.AvailableBuffer(), http.TimeFormat))
		out.WriteString("\r\n")
	}
	switch {
	case w.chunked:
		out.WriteString("Transfer-Encoding: chunked\r\n")
	case w.length >= 0 && (bodyAllowed(w.status) || w.status == http.StatusNotModified && w.length > 0):
		out.WriteString("Content-Length: " + strconv.FormatInt(w.length, 10) + "\r\n")
	}
	if w.closes {
		out.WriteString("Connection: close\r\n")
	}
	out.WriteString("\r\n")
}

// settle decides whether the connection goes on. What the handler left of the request's body is read before the answer: callers
// may read only after they have written.
func (w *reply) settle() {
	if w.request.Close || !w.request.ProtoAtLeast(1, 1) || w.wantsClose() || w.to.server.isClosing() {
		w.closes = true
	}
	if !w.closes && !w.body.settle(w.request.ContentLength) {
		w.closes = true
	}
}

func (w *reply) wantsClose() bool {
	for _, value := range w.header["Connection"] {
		if strings.EqualFold(value, "close") {
			return true
		}
	}
	return false
}

// release gives the buffer back: an answer may wait for more of itself.
func (w *reply) release() {
	if w.kept != nil {
		give(w.kept)
		w.kept = nil
	}
}

func give(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		buffers.Put(b)
	}
}

func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}
