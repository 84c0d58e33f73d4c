package portal

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// echo is an endpoint that keeps the last request.
type echo struct {
	*httptest.Server

	mu   sync.Mutex
	got  *http.Request
	body []byte
}

// last is the last request with its body.
func (e *echo) last() (*http.Request, string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.got, string(e.body)
}

func newEcho(t testing.TB) *echo {
	e := &echo{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.got = r
		e.body, _ = io.ReadAll(r.Body)
	}))
	t.Cleanup(e.Close)
	return e
}

// run runs a command as who copies it would.
func run(t testing.TB, command string, env ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+command)
	shell.Dir = t.TempDir()
	shell.Env = append([]string{"PATH=" + os.Getenv("PATH"), "no_proxy=*"}, env...)
	out, err := shell.CombinedOutput()
	require.NoError(t, err, "%s\n%s", command, out)
	left, err := os.ReadDir(shell.Dir)
	require.NoError(t, err)
	require.Empty(t, left, "the command wrote files")
}

func needCurl(t testing.TB) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
}

func TestTheCurlMakesTheSameRequest(t *testing.T) {
	needCurl(t)
	e := newEcho(t)
	for name, c := range map[string]contract.AttemptRequest{
		"text":              {Body: `{"a": "it's $HOME and $(id) and \"x\" ` + "`id`" + `\n!"}`},
		"like a file":       {Body: "@/etc/passwd"},
		"lines":             {Body: "a\r\nb\n\n"},
		"binary":            {Body: base64.StdEncoding.EncodeToString([]byte{0, 1, 255, '\n'}), BodyBase64: true},
		"a zero byte":       {Body: "a\x00b"},
		"nothing":           {},
		"no content type":   {Body: "x", Headers: []contract.Header{{Name: "Webhook-Id", Value: "dlv_1"}}},
		"odd headers":       {Body: "x", Headers: []contract.Header{{Name: "X-Empty", Value: ""}, {Name: "X-Odd", Value: `a'b"c$HOME;@x{}`}, {Name: "Content-Type", Value: "text/plain"}}},
		"counted by itself": {Body: "xyz", Headers: []contract.Header{{Name: "Content-Length", Value: "1"}, {Name: "Host", Value: "elsewhere.example"}}},
		"utf-8":             {Body: "Übergröße 🎉"},
	} {
		t.Run(name, func(t *testing.T) {
			c.Method, c.URL = "POST", e.URL+"/hook/[1-3]/{a,b}?q='x'"
			if name == "odd headers" {
				c.URL = e.URL + "/hook"
			}
			run(t, curl(c))
			want := []byte(c.Body)
			if c.BodyBase64 {
				want, _ = base64.StdEncoding.DecodeString(c.Body)
			}
			got, body := e.last()
			require.Equal(t, string(want), body)
			require.Equal(t, "POST", got.Method)
			for _, h := range c.Headers {
				if h.Name != "Host" && h.Name != "Content-Length" {
					require.Equal(t, []string{h.Value}, got.Header.Values(h.Name), h.Name)
				}
			}
			if !strings.Contains(curl(c), "text/plain") {
				require.Empty(t, got.Header.Get("Content-Type"))
			}
		})
	}
}

func TestHiddenValuesAreVariablesOfTheCurl(t *testing.T) {
	needCurl(t)
	e := newEcho(t)
	r := contract.AttemptRequest{Method: "POST", URL: e.URL, Headers: []contract.Header{
		{Name: "Authorization", Value: "Bearer " + contract.Hidden}, {Name: "X-Key", Value: contract.Hidden}, {Name: "X-Both", Value: "a" + contract.Hidden + "b'c"},
	}}
	require.Contains(t, curl(r), `'Authorization: Bearer '"$TOKEN"`)
	require.NotContains(t, curl(r), contract.Hidden)
	run(t, curl(r), "TOKEN=t0p $(id)", "TOKEN2=k", "TOKEN3=z")
	got, _ := e.last()
	require.Equal(t, []string{"Bearer t0p $(id)", "k", "azb'c"}, []string{got.Header.Get("Authorization"), got.Header.Get("X-Key"), got.Header.Get("X-Both")})
}

func TestTheCurlOfACutBodySaysSo(t *testing.T) {
	text := curl(contract.AttemptRequest{Method: "POST", URL: "https://a.example/", Body: "ab", BodyBytes: 5000, BodyCut: true})
	require.True(t, strings.HasPrefix(text, "# The log has only the beginning of the body, which has 5000 bytes"), text)
}

// Whatever is in a request, a shell reads it as one word that is the very text.
func FuzzTheCurlIsQuoted(f *testing.F) {
	f.Add("it's", "a'; rm -rf / #", "$(id)")
	f.Add("'", `\'`, "\n")
	f.Add("@x", "!!", "`id`")
	f.Fuzz(func(t *testing.T, url, value, body string) {
		if !utf8.ValidString(url + value + body) {
			return
		}
		text := curl(contract.AttemptRequest{Method: "POST", URL: url, Headers: []contract.Header{{Name: "X-A", Value: value}}, Body: body})
		words, ok := split(text)
		if !ok {
			t.Fatalf("it is not whole: %s", text)
		}
		want := []string{"curl", "--globoff", "-X", "POST", url, "-H"}
		for i, w := range want {
			if i >= len(words) || words[i] != w && !strings.Contains(body, "\x00") {
				t.Fatalf("got %q in %s", words, text)
			}
		}
		if body != "" && !strings.Contains(body, "\x00") && words[len(words)-1] != body {
			t.Fatalf("the body is %q in %s", words[len(words)-1], text)
		}
	})
}

// split reads what curl writes as a shell would: words of single-quoted parts, escaped quotes and variables; nothing else may be there.
func split(text string) (words []string, ok bool) {
	var word strings.Builder
	begun := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return nil, false
			}
			word.WriteString(text[i+1 : i+1+end])
			i, begun = i+1+end, true
		case c == '\\' && i+1 < len(text) && text[i+1] == '\'':
			word.WriteByte('\'')
			i++
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			i++
		case c == ' ':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		case c == '"' && strings.HasPrefix(text[i:], `"$TOKEN`):
			i += strings.IndexByte(text[i+1:], '"') + 1
			begun = true
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '@', c == '|', c == '%':
			word.WriteByte(c)
			begun = true
		default:
			return nil, false
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, true
}
