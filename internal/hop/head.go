package hop

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// requestBuffer holds the head of a usual request.
const requestBuffer = 2 << 10

var errHeadTooLarge = errors.New("the head is too large")

// reading is what reads a request. A connection has one from the head's first byte to the body's last.
type reading struct {
	*bufio.Reader
	head head
}

var readings = sync.Pool{New: func() any {
	r := &reading{}
	r.Reader = bufio.NewReaderSize(&r.head, requestBuffer)
	return r
}}

// begin prepares for the next head on a connection. What was read beyond the last request belongs to it.
func (r *reading) begin(from io.Reader, most int) {
	left := r.Buffered()
	if left == 0 {
		r.Reset(&r.head)
	}
	r.head = head{from: from, left: most, line: r.head.line[:0]}
	early, _ := r.Peek(left) // what is there is there
	r.head.left -= left
	r.head.look(early)
}

// release is for a reading with nothing left.
func (r *reading) release() {
	r.head.from = nil
	readings.Put(r)
}

// head bounds a request's head on its way into the parser and counts the lines that the parser hides or merges.
type head struct {
	from   io.Reader
	left   int   // bytes that the head may still take
	failed error // of the connection, or errHeadTooLarge

	started bool   // the request line is over
	ended   bool   // all of the head is over
	line    []byte // the begin of the current line

	hosts, lengths, encodings, folded int
}

// lineBegin is as much of a line as is looked at: more than the longest name that counts.
const lineBegin = 24

func (h *head) Read(p []byte) (int, error) {
	if !h.ended {
		if h.left <= 0 {
			h.failed = errHeadTooLarge
			return 0, errHeadTooLarge
		}
		p = p[:min(len(p), h.left)]
	}
	n, err := h.from.Read(p)
	if err != nil {
		h.failed = err
	}
	if h.left -= n; !h.ended {
		h.look(p[:n])
	}
	return n, err //nolint:wrapcheck // io.EOF must stay
}

// look goes through the lines of what was read.
func (h *head) look(p []byte) {
	for len(p) > 0 && !h.ended {
		text, rest, over := bytes.Cut(p, []byte{'\n'})
		h.line = append(h.line, text[:min(len(text), lineBegin-len(h.line))]...)
		if p = rest; over {
			h.count()
			h.line = h.line[:0]
		}
	}
}

// count is called at the end of a line.
func (h *head) count() {
	name, _, _ := bytes.Cut(h.line, []byte{':'})
	switch {
	case !h.started:
		h.started = true
	case len(h.line) == 0 || string(h.line) == "\r":
		h.ended = true
	case h.line[0] == ' ' || h.line[0] == '\t':
		h.folded++
	case is(name, "Host"):
		h.hosts++
	case is(name, "Content-Length"):
		h.lengths++
	case is(name, "Transfer-Encoding"):
		h.encodings++
	}
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// check returns the status that refuses a request, or 0. It refuses what the parser lets pass and net/http's server does not:
// other versions than 1.x, no host or two, names and values that no header may have. And it refuses what another server could
// read in another way than this one, as the start of a second request: two lengths, a length beside an encoding, an encoding in
// HTTP/1.0, a header in several lines. nginx refuses those as well.
func (h *head) check(r *http.Request) int {
	switch {
	case r.ProtoMajor != 1:
		return http.StatusHTTPVersionNotSupported
	case h.hosts > 1, h.hosts == 0 && r.ProtoAtLeast(1, 1), !validHost(r.Host):
		return http.StatusBadRequest
	case h.lengths+h.encodings > 1, h.encodings > 0 && !r.ProtoAtLeast(1, 1), h.folded > 0:
		return http.StatusBadRequest
	case !validHeader(r.Header):
		return http.StatusBadRequest
	case r.Header.Get("Expect") != "" && !continues(r):
		return http.StatusExpectationFailed
	}
	return 0
}

// continues reports whether the caller waits for 100 before it sends its body.
func continues(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

func validHost(host string) bool {
	for i := range len(host) {
		if c := host[i]; !alphanumeric(c) && !strings.ContainsRune("!$%&'()*+,-.:;=[]_~", rune(c)) {
			return false
		}
	}
	return true
}

func validHeader(header http.Header) bool {
	for name, values := range header {
		if !ValidName(name) {
			return false
		}
		for _, value := range values {
			if !ValidValue(value) {
				return false
			}
		}
	}
	return true
}

// ValidName reports whether a header may have this name: a token of RFC 9110, section 5.6.2.
func ValidName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return name != ""
}

// ValidValue reports whether a header may have this value: no control character but a tab.
func ValidValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
