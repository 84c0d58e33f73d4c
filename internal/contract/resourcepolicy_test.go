package contract

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAPolicyAllowsCallbacksByHostAndScheme(t *testing.T) {
	policy := Policy{CallbackHosts: []string{"hooks.example.com", "*.Example.org", "192.0.2.1", "2001:db8::1"}, CallbackSchemes: []string{"https"}}
	for callback, want := range map[string]string{
		"https://hooks.example.com/a":       "",
		"https://HOOKS.example.com.:8443/a": "",
		"https://a.example.org":             "",
		"https://a.b.example.org":           "",
		"https://192.0.2.1/":                "",
		"https://[2001:db8:0::1]/":          "",
		"https://[::ffff:192.0.2.1]/":       "",
		"http://hooks.example.com/":         "use https",
		"https://example.org/":              "host",
		"https://.example.org/":             "host",
		"https://example.com/":              "host",
		"https://xhooks.example.com/":       "host",
		"https://hooks.example.com.evil.x/": "host",
		"https://evilexample.org/":          "host",
		"https://example.org@evil.x/":       "host",
		"https://evil.x/.example.org":       "host",
		"https://192.0.2.10/":               "host",
	} {
		err := policy.CheckCallback(callback)
		if want == "" {
			require.NoError(t, err, callback)
			continue
		}
		require.ErrorContains(t, err, want, callback)
		require.Less(t, len(err.Error()), 250)
	}
	require.NoError(t, Policy{}.CheckCallback("http://anything.example/"))
}

func TestAPolicyNamesEachFieldThatCanNotBeUsed(t *testing.T) {
	for text, field := range map[string]string{
		`{"schema_mode":"loud"}`:                                                      "schema_mode",
		`{"verification":"trust"}`:                                                    "verification",
		`{"max_subscriptions":-1}`:                                                    "max_subscriptions",
		`{"max_subscriptions":1000001}`:                                               "max_subscriptions",
		`{"max_payload":10485761}`:                                                    "max_payload",
		`{"callback_hosts":["a.example","*"]}`:                                        "callback_hosts[1]",
		`{"callback_hosts":["https://a.example"]}`:                                    "callback_hosts[0]",
		`{"callback_hosts":["a.*.example"]}`:                                          "callback_hosts[0]",
		`{"callback_hosts":["a.example:443"]}`:                                        "callback_hosts[0]",
		`{"callback_hosts":[""]}`:                                                     "callback_hosts[0]",
		`{"callback_hosts":["fe80::1%eth0"]}`:                                         "callback_hosts[0]",
		`{"callback_schemes":["https","ftp"]}`:                                        "callback_schemes[1]",
		`{"log":{"max_age":"59m"}}`:                                                   "log.max_age",
		`{"log":{"max_age":"2161h"}}`:                                                 "log.max_age",
		`{"log":{"max_bytes":65535}}`:                                                 "log.max_bytes",
		`{"log":{"max_bytes":1073741825}}`:                                            "log.max_bytes",
		`{"log":{"body_excerpt":-1}}`:                                                 "log.body_excerpt",
		`{"log":{"body_excerpt":16385}}`:                                              "log.body_excerpt",
		`{"timeouts":{"total":"1h"}}`:                                                 "timeouts.total",
		`{"callback_hosts":[` + strings.Repeat(`"a.example",`, 100) + `"a.example"]}`: "callback_hosts",
	} {
		policy, err := Resource{Policy: json.RawMessage(text)}.FullPolicy()
		require.NoError(t, err, text)
		faults := policy.Check()
		require.Len(t, faults, 1, text)
		require.Equal(t, field, faults[0].Field)
	}
	good := `{"schema_mode":"warn","callback_hosts":["a.example","*.b.example","192.0.2.1"],"callback_schemes":["https","http"],"verification":"any",` +
		`"max_subscriptions":1,"max_payload":10485760,"retry_schedule":[],"timeouts":{"total":"20s"}}`
	policy, err := Resource{Policy: json.RawMessage(good)}.FullPolicy()
	require.NoError(t, err)
	require.Empty(t, policy.Check())
	require.JSONEq(t, good, string(mustJSON(t, policy)))
	_, err = Resource{Name: "orders", Policy: json.RawMessage(`{"max_payload":"big"}`)}.FullPolicy()
	require.ErrorContains(t, err, "orders")
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	return raw
}

func TestTheLogHasDefaultsAndCanDoWithoutBodies(t *testing.T) {
	read := func(text string) LogPolicy {
		policy, err := Resource{Policy: json.RawMessage(text)}.FullPolicy()
		require.NoError(t, err)
		require.Empty(t, policy.Check())
		return policy.Log
	}
	none := read(`{}`)
	require.Equal(t, []any{168 * time.Hour, 2 << 20, 4096, 1024}, []any{none.Age(), none.LogBytes(), none.Deliveries(), none.Excerpt()})
	set := read(`{"log":{"max_age":"24h","max_bytes":65536,"body_excerpt":0}}`)
	require.Equal(t, []any{24 * time.Hour, 32 << 10, 64, 0}, []any{set.Age(), set.LogBytes(), set.Deliveries(), set.Excerpt()})
}
