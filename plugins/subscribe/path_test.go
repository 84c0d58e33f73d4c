package subscribe

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	tests := []struct {
		path, resource, kind string
		ok                   bool
	}{
		{"/orders/subscribe", "orders", "subscribe", true},
		{"/orders/subscribe/", "orders", "subscribe", true},
		{"/orders/subscribe/sub_1/deliveries", "orders", "subscribe", true},
		{"/orders/subscribe/sub_1/deliveries/dlv_1/replay", "orders", "subscribe", true},
		{"/orders/subscribe/sub_1/replay/rpl_1", "orders", "subscribe", true},
		{"/orders/events", "orders", "events", true},
		{"/orders/events/types", "orders", "events", true},
		{"/orders/events/asyncapi.json", "orders", "events", true},
		{"/events/events", "events", "events", true},
		{"/-/subscribe", "-", "subscribe", true},
		{"/orders/subscribes", "", "", false},
		{"/orders", "", "", false},
		{"/subscribe", "", "", false},
		{"//subscribe", "", "", false},
		{"/a/b/subscribe", "", "", false},
		{"orders/subscribe", "", "", false},
		{"/-/callback", "", "", false},
		{"/gateway/orders/subscribe", "", "", false},
		{"/", "", "", false},
		{"", "", "", false},
	}
	for _, test := range tests {
		resource, kind, ok := parsePath(test.path)
		if ok != test.ok || ok && (resource != test.resource || kind != test.kind) {
			t.Errorf("%q: got %q, %q, %t", test.path, resource, kind, ok)
		}
	}
}

// FuzzCheckPath: a path that passes reads the same however often it is decoded and cleaned, and never leaves its place
// below the gateway's prefix.
func FuzzCheckPath(f *testing.F) {
	for _, seed := range [][2]string{
		{"/orders/subscribe", "/orders/subscribe?x=%2F"}, {"/orders/1/subscribe", "/orders%2F1/subscribe"},
		{"/orders/subscribe", "/x/../orders/subscribe"}, {"/orders/subscribe", "//orders/subscribe"},
		{"/orders/subscribe\n", "/orders/subscribe%0A"}, {"/orders;a/subscribe", "/orders;a/subscribe"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, decoded, raw string) {
		if checkPath(decoded, raw) != nil {
			return
		}
		sent, _, _ := strings.Cut(raw, "?")
		if sent != decoded || strings.ContainsAny(decoded, "%;\\ \x00\r\n\t?#") || strings.Contains(decoded, "..") {
			t.Fatalf("%q, %q passed", decoded, raw)
		}
		if again, err := url.PathUnescape(decoded); err != nil || again != decoded {
			t.Fatalf("%q decodes to %q", decoded, again)
		}
		if clean := path.Clean("/gateway" + decoded); strings.HasPrefix(decoded, "/") && !strings.HasPrefix(clean, "/gateway") {
			t.Fatalf("%q leads to %q", decoded, clean)
		}
	})
}
