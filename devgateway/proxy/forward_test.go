package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSetTargetIsSentAsWritten(t *testing.T) {
	for _, target := range []string{"/", "/a?", "/a?b=%20&c", "/a%2Fb/../c", "//a/b?c", "//a%2Fb", `/a|"b`, "/a;b=c"} {
		u := &url.URL{Scheme: "http", Host: "h", Path: "/before", RawQuery: "before"}
		setTarget(u, target)
		assert.Equal(t, target, u.RequestURI())
	}
}

func TestStatusOfAFailure(t *testing.T) {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	request := func(ctx context.Context, body *requestBody) *http.Request {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
		if body != nil {
			r.Body = body
		}
		return r
	}
	read := &requestBody{}
	read.ended.Store(true)
	tests := map[string]struct {
		in   *http.Request
		err  error
		want int
	}{
		"refused":                    {request(context.Background(), nil), errors.New("connection refused"), 502},
		"timeout":                    {request(context.Background(), nil), os.ErrDeadlineExceeded, 504},
		"silent":                     {request(context.Background(), nil), errUpstreamSilent, 504},
		"too large":                  {request(gone, &requestBody{}), ErrTooLarge, 413},
		"body stopped":               {request(context.Background(), &requestBody{}), ErrClientTimeout, 408},
		"body stopped, seen late":    {request(gone, &requestBody{}), context.Canceled, 408},
		"client gone":                {request(gone, nil), context.Canceled, StatusClientGone},
		"client gone after its body": {request(gone, read), context.Canceled, StatusClientGone},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, statusOf(tc.in, tc.err)) })
	}
}

func TestPages(t *testing.T) {
	for status, want := range map[int]string{503: "503 Service Temporarily Unavailable", 403: "403 Forbidden", 413: "413 Request Entity Too Large"} {
		w := httptest.NewRecorder()
		WritePage(w, status)
		assert.Equal(t, status, w.Code)
		assert.Contains(t, w.Body.String(), "<center><h1>"+want+"</h1></center>")
		assert.Equal(t, "APISIX", w.Header().Get("Server"))
	}
	w := httptest.NewRecorder()
	WritePage(w, http.StatusNotModified)
	assert.Empty(t, w.Body.String())
}
