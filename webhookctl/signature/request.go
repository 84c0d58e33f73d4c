package signature

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// ReadRequest reads a raw HTTP request, as a proxy's log or a terminal shows it: with or without its first line, line ends as LF or CR LF.
// What follows the empty line is the body, to the end, or as far as Content-Length says.
func ReadRequest(from io.Reader) (Message, error) {
	lines := bufio.NewReader(from)
	if err := skipFirstLine(lines); err != nil {
		return Message{}, err
	}
	header, err := textproto.NewReader(lines).ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		return Message{}, fmt.Errorf("reading the headers: a line is not of the form name: value (%w)", err)
	}
	body, err := io.ReadAll(lines)
	if err != nil {
		return Message{}, fmt.Errorf("reading the body: %w", err)
	}
	m := Message{http.Header(header), body}
	return m, m.cut()
}

// skipFirstLine takes away "POST /hooks HTTP/1.1", and empty lines before it.
func skipFirstLine(lines *bufio.Reader) error {
	for {
		start, err := lines.Peek(1)
		if err != nil {
			return errors.New("there is no request: paste it with its headers, an empty line, and the body")
		}
		if start[0] != '\r' && start[0] != '\n' {
			break
		}
		_, _ = lines.Discard(1) // it was just seen
	}
	head, _ := lines.Peek(8 << 10) // what there is
	line, _, _ := bytes.Cut(head, []byte("\n"))
	name, _, _ := bytes.Cut(line, []byte(":"))
	if bytes.ContainsRune(name, ' ') || !bytes.ContainsRune(line, ':') {
		_, _ = lines.Discard(min(len(head), len(line)+1)) // it was just seen
	}
	return nil
}

// cut leaves out what is after the body, such as the line end of whoever pasted it.
func (m *Message) cut() error {
	text := m.Header.Get("Content-Length")
	if text == "" {
		return nil
	}
	length, err := strconv.Atoi(strings.TrimSpace(text))
	switch {
	case err != nil || length < 0:
		return errors.New("Content-Length is no number")
	case length > len(m.Body):
		return fmt.Errorf("the body has %d bytes, and Content-Length is %d: the request is not all there", len(m.Body), length)
	}
	m.Body = m.Body[:length]
	return nil
}
