package e2e

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
)

// page is a browser's tab in a test: whatever the browser complains of fails it.
type page struct {
	*browser.Tab
	t *testing.T
}

// openBrowser starts one, or skips the test where there is none and none is required.
func openBrowser(t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Open()
	if errors.Is(err, browser.ErrNone) && os.Getenv("WEBHOOK_TEST_REQUIRE") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func newPage(t *testing.T, b *browser.Browser, o browser.TabOptions) *page {
	t.Helper()
	tab, err := b.Tab(o)
	require.NoError(t, err)
	t.Cleanup(tab.Close)
	return &page{tab, t}
}

// does takes steps.
func (p *page) does(steps ...browser.Step) {
	p.t.Helper()
	require.NoError(p.t, p.Do(steps...))
	require.Empty(p.t, p.Faults(), "what the browser complains of on %s", p.Path())
}

// isFitForAll checks the page as it stands for barriers.
func (p *page) isFitForAll() {
	p.t.Helper()
	barriers, err := p.Barriers()
	require.NoError(p.t, err)
	require.Empty(p.t, barriers, strings.Join(barriers, "\n"))
	require.Empty(p.t, p.Faults())
	cookies, err := p.Cookies()
	require.NoError(p.t, err)
	require.Empty(p.t, cookies, "no script can read the session")
}

// signsIn opens a link that somebody has made.
func (p *page) signsIn(link string) {
	p.t.Helper()
	p.does(browser.Go(link), browser.Click(browser.Button, "Sign in"), browser.Have(browser.Button, "Sign out"))
}

// adminLink is a new link that signs the admin in.
func (s *scene) adminLink(t *testing.T) string {
	t.Helper()
	link, err := s.Admin().Want(ctx(t), http.StatusCreated, "POST", "/admin/v1/portal-links", nil)
	require.NoError(t, err)
	return link.Field("url")
}

// consumerLink is a new link that signs the scene's consumer in, made with its own key.
func (s *scene) consumerLink(t *testing.T) string {
	t.Helper()
	link, err := s.consumer.Want(ctx(t), http.StatusCreated, "POST", "/portal/links", nil)
	require.NoError(t, err)
	return link.Field("url")
}
