package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return New(server.URL, http.Header{"Apikey": {"the-key"}}, 5*time.Second)
}

func TestProblemsKeepTheirFields(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "3")
		w.WriteHeader(http.StatusUnprocessableEntity)
		fmt.Fprint(w, `{"title":"x","status":422,"detail":"validation failed","errors":[{"location":"body.types[0]","message":"is empty"}]}`)
	})
	_, err := c.Get(t.Context(), "/a", nil)
	var p *Problem
	require.ErrorAs(t, err, &p)
	require.True(t, p.Ours)
	require.Equal(t, []Fault{{"body.types[0]", "is empty"}}, p.Errors)
	require.Equal(t, 3*time.Second, p.RetryAfter)
	require.Equal(t, exit.Invalid, exit.Of(err))
	require.EqualError(t, err, "422 Unprocessable Entity: validation failed")
}

func TestAForeignAnswerIsSaidToBeOne(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error_msg":"404 Route Not Found"}`)
	})
	_, err := c.Get(t.Context(), "/a", nil)
	require.Equal(t, exit.NotFound, exit.Of(err))
	require.ErrorContains(t, err, "not of the webhook services")
	require.ErrorContains(t, err, "404 Route Not Found")
}

func TestNoRedirectIsFollowed(t *testing.T) {
	var asked int
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/b", http.StatusTemporaryRedirect)
	})
	_, err := c.Get(t.Context(), "/a", nil)
	require.Error(t, err)
	require.Equal(t, 1, asked)
}

func TestAServerThatIsAwayIsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := New(server.URL, http.Header{"Apikey": {"the-key"}}, time.Second).Get(t.Context(), "/secret-path", nil)
	require.Equal(t, exit.Unavailable, exit.Of(err))
	require.ErrorContains(t, err, "can't be reached")
	require.NotContains(t, err.Error(), "the-key")
}

func TestPagesAreReadUntilThereAreEnough(t *testing.T) {
	var limits []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		limits = append(limits, r.URL.Query().Get("limit"))
		switch r.URL.Query().Get("cursor") {
		case "":
			fmt.Fprint(w, `{"items":[1,2],"next_cursor":"b"}`)
		case "b":
			fmt.Fprint(w, `{"items":[],"next_cursor":"c"}`)
		case "c":
			fmt.Fprint(w, `{"items":[3]}`)
		}
	})
	for limit, want := range map[int]int{0: 3, 2: 2, 3: 3, 100: 3} {
		list, err := c.All(t.Context(), "/a", url.Values{"status": {"x"}}, limit)
		require.NoError(t, err)
		require.Len(t, list.Items, want, "%d", limit)
		require.Equal(t, limit == 2, list.NextCursor != "")
	}
	require.Contains(t, limits, "100")
	require.Contains(t, limits, "2")
}

func TestSegmentsAreEncoded(t *testing.T) {
	require.Equal(t, "/%2Fshop/a%2Fb", Path("/shop", "a/b"))
}
