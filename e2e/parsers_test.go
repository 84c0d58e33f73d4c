package e2e

import (
	"net/netip"
	"strings"
	"testing"

	whatwg "github.com/nlnwa/whatwg-url/url"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// What the guard takes leads the parser of browsers (WHATWG URL) to the same host and port: where two readers differ, one can
// be shown a public host and the other a private one.
func FuzzAURLThatIsTakenHasOneReading(f *testing.F) {
	for _, hostile := range testkit.HostileURLs() {
		f.Add(hostile.URL)
	}
	f.Add("https://consumer.example:8443/a?b=%20")
	f.Add("https://[2606:2800:220:1:0:0:0:1]/")
	policy, err := guard.New([]string{"0.0.0.0/0", "::/0"}, true) // so that as much as can be is taken
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, raw string) {
		ours, err := policy.CheckURL(raw)
		if err != nil {
			return
		}
		theirs, err := whatwg.Parse(raw)
		if err != nil {
			return // stricter than we are
		}
		require.Equal(t, plainHost(ours.Hostname()), strings.Trim(theirs.Hostname(), "[]"))
		if port := ours.Port(); port != theirs.Port() {
			require.Empty(t, theirs.Port(), "they leave out the scheme's own port, and no other")
			require.Equal(t, map[string]string{"https": "443", "http": "80"}[ours.Scheme], port)
		}
	})
}

func plainHost(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String()
	}
	return strings.ToLower(host)
}
