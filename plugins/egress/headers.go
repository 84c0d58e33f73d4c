package egress

import (
	"net/http"
	"net/textproto"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const (
	userAgent = "apisix-webhooks"
	// maxHeaderValue bounds each header value of an endpoint that goes back.
	maxHeaderValue = 1 << 10
)

// dropped are the headers that belong to one connection (RFC 9110, section 7.6.1), and those that the gateway puts on.
var dropped = setOf(
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Expect", "Content-Length", "Host",
	"X-Real-Ip", "X-Request-Id", "Via", "Forwarded",
	"Baggage",         // it is for whoever traces here
	"Accept-Encoding", // no Content-Encoding goes back, so none is asked for
)

var droppedPrefixes = []string{"X-Forwarded-", "X-Apisix-"}

// returned are the only headers of an endpoint that go back.
var returned = []string{"Content-Type", "Retry-After", "Date", "Webhook-Allowed-Origin", "Webhook-Allowed-Rate"}

// outgoing makes of a request's headers those that the endpoint gets: what the callback service sent. It changes them in place:
// a call that waits for its endpoint holds one set of headers and not two.
func outgoing(h http.Header) http.Header {
	named := connectionNamed(h)
	for name := range h {
		if isDropped(name) || named[name] {
			delete(h, name)
		}
	}
	if len(h["User-Agent"]) == 0 {
		h.Set("User-Agent", userAgent)
	}
	return h
}

func isDropped(name string) bool {
	if dropped[name] || contract.IsInternalHeader(name) {
		return true
	}
	for _, prefix := range droppedPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// connectionNamed returns the headers that Connection declares to be for one connection.
func connectionNamed(in http.Header) map[string]bool {
	var named map[string]bool
	for _, value := range in["Connection"] {
		for token := range strings.SplitSeq(value, ",") {
			if token = textproto.TrimString(token); token != "" {
				if named == nil {
					named = map[string]bool{}
				}
				named[http.CanonicalHeaderKey(token)] = true
			}
		}
	}
	return named
}

// incoming returns the headers of an endpoint's answer that go back, one value each.
func incoming(in http.Header) http.Header {
	out := make(http.Header, len(returned)+1)
	for _, name := range returned {
		if values := in[name]; len(values) > 0 && len(values[0]) <= maxHeaderValue {
			out[name] = values[:1]
		}
	}
	return out
}

func setOf(names ...string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
