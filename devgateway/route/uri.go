// Package route finds the route of a request the way APISIX and nginx do.
package route

import (
	"errors"
	"strings"
)

// ErrBadTarget is a request target that nginx answers with 400.
var ErrBadTarget = errors.New("bad request target")

// Target is a request target as nginx splits it.
type Target struct {
	Raw     string // the path and query as the client wrote them, without scheme and host
	Path    string // decoded and normalised: what routes match
	Args    string // the raw query
	HasArgs bool   // whether there was a question mark
}

// ParseTarget splits and normalises a request target: the path is percent-decoded, `//` becomes `/`, `.` and `..`
// are resolved. A bad escape, a zero byte and a path that leaves the root are errors.
func ParseTarget(raw string) (Target, error) {
	t := Target{Raw: origin(raw)}
	if !strings.HasPrefix(t.Raw, "/") {
		return t, ErrBadTarget
	}
	rest, _, _ := strings.Cut(t.Raw, "#")
	path, args, found := strings.Cut(rest, "?")
	t.Args, t.HasArgs = args, found
	var err error
	t.Path, err = normalise(path)
	return t, err
}

// origin takes scheme and host off an absolute target.
func origin(raw string) string {
	if strings.HasPrefix(raw, "/") {
		return raw
	}
	_, rest, found := strings.Cut(raw, "://")
	if !found {
		return raw
	}
	i := strings.IndexAny(rest, "/?#")
	switch {
	case i < 0:
		return "/"
	case rest[i] == '/':
		return rest[i:]
	default:
		return "/" + rest[i:]
	}
}

func normalise(path string) (string, error) {
	if plain(path) {
		return path, nil
	}
	decoded, err := decode(path)
	if err != nil {
		return "", err
	}
	return resolve(decoded)
}

// plain says that a path is its own normal form; nearly all are.
func plain(path string) bool {
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '%', 0:
			return false
		case '/':
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

func decode(path string) (string, error) {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' {
			if i+2 >= len(path) || unhex(path[i+1]) < 0 || unhex(path[i+2]) < 0 {
				return "", ErrBadTarget
			}
			c = byte(unhex(path[i+1])<<4 | unhex(path[i+2])) // #nosec G115 -- two hexadecimal digits
			i += 2
		}
		if c == 0 {
			return "", ErrBadTarget
		}
		out = append(out, c)
	}
	return string(out), nil
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// resolve merges slashes and walks dot segments.
func resolve(path string) (string, error) {
	var segments []string
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		last := i == len(parts)-1
		switch part {
		case "", ".":
		case "..":
			if len(segments) == 0 {
				return "", ErrBadTarget
			}
			segments = segments[:len(segments)-1]
		default:
			segments = append(segments, part)
			continue
		}
		if last {
			segments = append(segments, "")
		}
	}
	return "/" + strings.Join(segments, "/"), nil
}

// escaped is what nginx percent-encodes in a path (ngx_escape_uri, type NGX_ESCAPE_URI).
var escaped = func() (set [256]bool) {
	for c := range 256 {
		set[c] = c <= ' ' || c >= 0x7f || strings.IndexByte("\"#%<>?\\^`{|}", byte(c)) >= 0
	}
	return set
}()

// EscapePath percent-encodes a decoded path as APISIX does before it sends it to an upstream.
func EscapePath(path string) string { return escape(path, &escaped) }

// component is what nginx leaves alone in a query key or value (NGX_ESCAPE_URI_COMPONENT).
var component = func() (set [256]bool) {
	for c := range 256 {
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		set[c] = !alnum && strings.IndexByte("-_.~!*'()", byte(c)) < 0
	}
	return set
}()

func escape(s string, set *[256]bool) string {
	n := 0
	for i := 0; i < len(s); i++ {
		if set[s[i]] {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s)+2*n)
	for i := 0; i < len(s); i++ {
		if c := s[i]; set[c] {
			out = append(out, '%', hex[c>>4], hex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}
