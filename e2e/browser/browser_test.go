package browser

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// open starts a browser, or skips the test where there is none and none is required.
func open(t *testing.T) *Browser {
	t.Helper()
	b, err := Open()
	if errors.Is(err, ErrNone) && os.Getenv("WEBHOOK_TEST_REQUIRE") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

// A page that is well, with a form that says what was sent.
const form = `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>A form</title><main><h1>A form</h1><form method="post" action="/sent">
<label>Name <input name="name" value="old"></label> <label>Kind <select name="kind"><option>first<option>second</select></label>
<label><input type="checkbox" name="sure"> Sure</label> <button>Send it</button></form><p id="js"></p><a href="/form">Again</a></main>`

func pages() http.Handler {
	mux := http.NewServeMux()
	serve := func(path, html string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'nonce-1'")
			_, _ = fmt.Fprint(w, html)
		})
	}
	serve("/form", form+`<script nonce="1">document.getElementById("js").textContent = "with scripts"</script>`)
	mux.HandleFunc("/sent", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "<!doctype html><title>t</title><p>sent: %s, %s, %s", r.FormValue("name"), r.FormValue("kind"), r.FormValue("sure"))
	})
	serve("/console", `<!doctype html><script nonce="1">console.error("it hurts")</script>`)
	serve("/exception", `<!doctype html><script nonce="1">throw new Error("thrown away")</script>`)
	serve("/inline", `<!doctype html><script>1</script>`)
	serve("/absent", `<!doctype html><img src="/nowhere.png" alt="">`)
	serve("/foreign", `<!doctype html><img src="http://127.0.0.1:9/x.png" alt="">`)
	serve("/barred", `<!doctype html><html lang="en"><title>t</title><main><h1>h</h1><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><input><pre>`+strings.Repeat("wide", 100))
	serve("/dark", `<!doctype html><html lang="en"><title>t</title><meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/dark.css"><main><h1>h</h1><p>words</p></main>`)
	mux.HandleFunc("/dark.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = fmt.Fprint(w, `@media (prefers-color-scheme: dark) { p { color: #333; background: #222 } }`)
	})
	mux.HandleFunc("/favicon.ico", func(http.ResponseWriter, *http.Request) {})
	return mux
}

func TestABrowserDoesWhatAUserDoes(t *testing.T) {
	b, server := open(t), httptest.NewServer(pages())
	t.Cleanup(server.Close)
	for _, o := range []TabOptions{{}, {NoScript: true}} {
		tab, err := b.Tab(o)
		require.NoError(t, err)
		require.NoError(t, tab.Do(
			Go(server.URL+"/form"), Have(Heading, "A form"), Fill(Textbox, "Name", "a new one"), Choose("Kind", "second"), Click(Checkbox, "Sure"),
			Click(Button, "Send it"), See("sent: a new one, second, on"), At("/sent"),
			Go(server.URL+"/form"), TabTo(Textbox, "Name"), Press("x"), TabTo(Button, "~Send"), Press(kb.Enter), See("sent: x, first,"),
		))
		require.NoError(t, tab.Do(Go(server.URL+"/form")))
		require.Equal(t, !o.NoScript, strings.Contains(tab.Text(), "with scripts"))
		barriers, err := tab.Barriers()
		require.NoError(t, err)
		require.Empty(t, barriers)
		require.Empty(t, tab.Faults())
		tab.Close()
	}
}

func TestABrowserTellsWhatIsWrong(t *testing.T) {
	b, server := open(t), httptest.NewServer(pages())
	t.Cleanup(server.Close)
	tab, err := b.Tab(TabOptions{})
	require.NoError(t, err)
	for path, fault := range map[string]string{
		"/console": "console: it hurts", "/exception": "exception: Error: thrown away", "/inline": "security: ", "/absent": "answer: 404",
		"/foreign": "security: ", "/gone": "answer: 404",
	} {
		require.NoError(t, tab.Do(Go(server.URL+path)), path)
		require.Contains(t, strings.Join(tab.Faults(), "\n"), fault, path)
		require.Empty(t, tab.Faults())
	}
	tab.Expect(http.StatusNotFound, "/nowhere.png")
	require.NoError(t, tab.Do(Go(server.URL+"/absent")))
	require.Empty(t, tab.Faults())
	tab.Expect(http.StatusNotFound, "/nowhere.png")
	require.NoError(t, tab.Do(Go(server.URL+"/form")))
	require.Equal(t, []string{"missing: no answer 404 came for /nowhere.png"}, tab.Faults())
}

func TestABrowserTellsWhatKeepsPeopleOut(t *testing.T) {
	b, server := open(t), httptest.NewServer(pages())
	t.Cleanup(server.Close)
	tab, err := b.Tab(TabOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Do(Go(server.URL+"/barred")))
	barriers, err := tab.Barriers()
	require.NoError(t, err)
	all := strings.Join(barriers, "\n")
	require.Contains(t, all, "image-alt (critical)")
	require.Contains(t, all, "label (critical)")
	require.Contains(t, all, "scrolled sideways")
	require.NoError(t, tab.Do(Go(server.URL+"/dark")))
	barriers, err = tab.Barriers()
	require.NoError(t, err)
	require.Len(t, barriers, 2, "%s", barriers) // in the dark, on either screen
	require.Contains(t, barriers[0], "dark true: color-contrast (serious)")
}

func TestAPictureIsSmall(t *testing.T) {
	b, server := open(t), httptest.NewServer(pages())
	t.Cleanup(server.Close)
	tab, err := b.Tab(TabOptions{})
	require.NoError(t, err)
	require.NoError(t, tab.Do(Go(server.URL+"/form")))
	picture, err := tab.Shot(2000)
	require.NoError(t, err)
	size, err := png.DecodeConfig(bytes.NewReader(picture))
	require.NoError(t, err)
	require.Equal(t, 1280, size.Width)
	require.Less(t, len(picture), 20<<10)
}
