package route

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

func TestParseTarget(t *testing.T) {
	tests := []struct{ raw, path, args string }{
		{"/", "/", ""},
		{"/orders/subscribe", "/orders/subscribe", ""},
		{"/orders/subscribe?a=1&b", "/orders/subscribe", "a=1&b"},
		{"/a?x=%2F..//?", "/a", "x=%2F..//?"},
		{"/orders%2F1/x", "/orders/1/x", ""},
		{"/a%20b", "/a b", ""},
		{"/a+b", "/a+b", ""},
		{"/a%3Fb", "/a?b", ""},
		{"/a%23b", "/a#b", ""},
		{"/a%252Fb", "/a%2Fb", ""},
		{"//a///b//", "/a/b/", ""},
		{"//", "/", ""},
		{"/./a/./b/.", "/a/b/", ""},
		{"/a/../b", "/b", ""},
		{"/a/b/..", "/a/", ""},
		{"/a/..", "/", ""},
		{"/a//../b", "/b", ""},
		{"/a/%2e%2E/b", "/b", ""},
		{"/a/%2e/b", "/a/b", ""},
		{"/a/..%2fb", "/b", ""},
		{"/.../.a/..b", "/.../.a/..b", ""},
		{"/a#b?c", "/a", ""},
		{"/a?b#c", "/a", "b"},
		{"/%C3%A9%ff", "/\xc3\xa9\xff", ""},
		{"http://host/a/../b?q", "/b", "q"},
		{"http://host", "/", ""},
		{"http://host?q", "/", "q"},
	}
	for _, tc := range tests {
		got, err := ParseTarget(tc.raw)
		require.NoError(t, err, tc.raw)
		assert.Equal(t, tc.path, got.Path, tc.raw)
		assert.Equal(t, tc.args, got.Args, tc.raw)
	}
}

func TestBadTargets(t *testing.T) {
	for _, raw := range []string{"", "*", "host:80", "a", "/..", "/../a", "/a/../..", "/a/../../b", "/%2e%2e/a", "/%", "/%2", "/%zz", "/a%00b", "/%2g?"} {
		_, err := ParseTarget(raw)
		assert.ErrorIs(t, err, ErrBadTarget, raw)
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"/a/../b//c%2e?x#y", "/%2e%2e", "http://h/%", "/a/./.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParseTarget(raw)
		if err != nil {
			return
		}
		p := got.Path
		assert.True(t, strings.HasPrefix(p, "/"))
		assert.NotContains(t, p, "//")
		assert.NotContains(t, p, "\x00")
		for _, segment := range strings.Split(p, "/") {
			assert.NotContains(t, []string{".", ".."}, segment)
		}
		again, err := ParseTarget(EscapePath(p))
		require.NoError(t, err, "a normal path can be sent")
		assert.Equal(t, p, again.Path, "and arrives as it was")
		_, err = url.ParseRequestURI(EscapePath(p))
		assert.NoError(t, err)
	})
}

func TestEscapePath(t *testing.T) {
	tests := map[string]string{
		"/plain/-._~!$&'()*+,;=:@": "/plain/-._~!$&'()*+,;=:@",
		"/a%2Fb":                   "/a%252Fb",
		"/a?b#c":                   "/a%3Fb%23c",
		"/a b\r\n\x7f":             "/a%20b%0D%0A%7F",
		`/"<>\^` + "`{|}":          "/%22%3C%3E%5C%5E%60%7B%7C%7D",
		"/\xc3\xa9":                "/%C3%A9",
	}
	for in, want := range tests {
		assert.Equal(t, want, EscapePath(in))
	}
}

func TestArgs(t *testing.T) {
	got := ParseArgs(nil, "a=1&a=2&flag&empty=&sp+ace=%20x&bad=%zz&=nameless&&x=a=b")
	assert.Equal(t, []Arg{
		{"a", "1", true}, {"a", "2", true}, {"flag", "", false}, {"empty", "", true}, {"sp ace", " x", true},
		{"bad", "%zz", true}, {"x", "a=b", true},
	}, got)
	assert.Equal(t, "a=1&a=2&flag&empty=&sp%20ace=%20x&bad=%25zz&x=a%3Db", FormatArgs(got))
}

func FuzzArgs(f *testing.F) {
	f.Add("a=1&b&c=%zz+")
	f.Fuzz(func(t *testing.T, query string) {
		args := ParseArgs(nil, query)
		assert.Equal(t, args, ParseArgs(nil, FormatArgs(args)))
	})
}

func TestMatch(t *testing.T) {
	any := []string(nil)
	vars := func(re string) []config.Var { return []config.Var{{Name: "uri", Operator: "~~", Value: re}} }
	routes := []config.Route{
		0: {URI: "/*", Methods: []string{"GET", "POST"}, Vars: vars(`^/[^/]+/subscribe(/|\z)`)},
		1: {URI: "/*", Methods: []string{"GET", "POST"}, Vars: vars(`^/[^/]+/events(/|\z)`)},
		2: {URI: "/-/callback", Methods: []string{"POST"}},
		3: {URI: "/a/*", Methods: any},
		4: {URI: "/a/b/*", Methods: []string{"PUT"}},
		5: {URI: "/a/*", Methods: any},
	}
	r, err := New(routes)
	require.NoError(t, err)
	const none = -1
	tests := []struct {
		method, path string
		want         int
	}{
		{"POST", "/orders/subscribe", 0},
		{"POST", "/orders/subscribe/", 0},
		{"GET", "/orders/subscribe/id", 0},
		{"POST", "/orders/subscribe\n", none},
		{"POST", "/orders/subscriber", none},
		{"POST", "/x/orders/subscribe", none},
		{"DELETE", "/orders/subscribe", none},
		{"GET", "/orders/events", 1},
		{"POST", "/-/callback", 2},
		{"GET", "/-/callback", none},
		{"POST", "/-/callback/", none},
		{"POST", "/-/subscribe", 0},
		{"GET", "/a/x", 3},
		{"GET", "/a/", 3},
		{"PUT", "/a/b/c", 4},
		{"GET", "/a/b/c", 3},
		{"POST", "/a/subscribe", 3},
		{"GET", "/a", none},
		{"GET", "/", none},
	}
	for _, tc := range tests {
		got, ok := r.Match(tc.method, tc.path)
		if !ok {
			got = none
		}
		assert.Equal(t, tc.want, got, "%s %q", tc.method, tc.path)
	}
}

func TestUnknownConditions(t *testing.T) {
	for _, v := range []config.Var{
		{Name: "host", Operator: "~~", Value: "a"}, {Name: "uri", Operator: "==", Value: "a"},
		{Name: "uri", Operator: "~~", Value: "("}, {Name: "uri", Operator: "~~", Value: "^/a$"},
		{Name: "uri", Operator: "~~", Value: `a\\$`}, {Name: "uri", Operator: "~~", Value: "(?=a)"},
	} {
		_, err := New([]config.Route{{URI: "/*", Vars: []config.Var{v}}})
		assert.ErrorContains(t, err, "routes[0].vars[0]", v.Value)
	}
	_, err := New([]config.Route{{URI: "/*", Vars: []config.Var{{Name: "uri", Operator: "~~", Value: `a\$`}}}})
	assert.NoError(t, err)
}

func BenchmarkParseTarget(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseTarget("/orders/subscribe/01J?limit=10")
	}
}

func TestTheHigherPriorityIsTriedFirst(t *testing.T) {
	r, err := New([]config.Route{
		{URI: "/*", Methods: []string{"GET", "POST"}}, {URI: "/*", Priority: 1, Methods: []string{"GET"}, Vars: []config.Var{{Name: "uri", Operator: "~~", Value: `^/[^/]+/stream\z`}}},
		{URI: "/a/*", Priority: -1}, {URI: "/x", Priority: 1}, {URI: "/x", Priority: 2},
	})
	require.NoError(t, err)
	for call, want := range map[string]int{"GET /b/stream": 1, "POST /b/stream": 0, "GET /b/streams": 0, "GET /a/stream": 2, "GET /x": 4} {
		method, path, _ := strings.Cut(call, " ")
		got, ok := r.Match(method, path)
		assert.True(t, ok, call)
		assert.Equal(t, want, got, call)
	}
}
