package subscribe

import (
	"fmt"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
)

// The second segment of the paths that this plugin acts on.
const (
	kindSubscribe = "subscribe"
	kindEvents    = "events"
)

// parsePath takes /{resource}/subscribe and /{resource}/events, and what is below them, apart. The resource is not checked.
func parsePath(path string) (resource, kind string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", "", false
	}
	resource, rest, ok = strings.Cut(rest, "/")
	if !ok || resource == "" {
		return "", "", false
	}
	kind, _, _ = strings.Cut(rest, "/")
	return resource, kind, kind == kindSubscribe || kind == kindEvents
}

// checkPath refuses a path that two readers could take for different ones. path is what APISIX made of the request line
// (decoded, dots and slashes merged); raw is the request line's own target.
func checkPath(path, raw string) *filter.Refusal {
	raw, _, _ = strings.Cut(raw, "?")
	for i := range len(raw) {
		if !plainByte(raw[i]) {
			return filter.RefuseAs(contract.KindUnsafePath, fmt.Sprintf(
				"the path has the byte 0x%02X: use letters, digits, - . _ ~ and / without percent-encoding", raw[i]))
		}
	}
	switch {
	case strings.Contains(raw, ".."), strings.Contains(raw, "//"):
		return filter.RefuseAs(contract.KindUnsafePath, "the path has .. or //: take it out")
	case raw != path:
		return filter.RefuseAs(contract.KindUnsafePath, "the path reads in two ways: write it in its shortest form")
	}
	return nil
}

// plainByte reports whether every reader takes the byte for itself: unreserved of RFC 3986, some sub-delims, and the slash.
func plainByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	}
	return strings.IndexByte("-._~/:@!$&'()*+,=", b) >= 0
}
