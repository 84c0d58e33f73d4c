package portal

import (
	"net/http"
	"strings"
)

// guarded sets the headers that keep a page to itself.
func (s *site) guarded(next http.Handler) http.Handler {
	ancestors := "'none'"
	if len(s.FrameAncestors) > 0 {
		ancestors = strings.Join(s.FrameAncestors, " ")
	}
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors " + ancestors
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		if s.secure { // elsewhere browsers complain of it
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		if len(s.FrameAncestors) == 0 {
			h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
		}
		next.ServeHTTP(w, r)
	})
}

// foreign answers what another site's page sent.
func (s *site) foreign(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, nil, &problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: "this came from a page of another site: open the portal and do it there"})
}

// missing answers where no page is.
func (s *site) missing(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, nil, &problem{Status: http.StatusNotFound, Title: "Not found", Detail: "there is no page at this address"})
}

// redirect goes on to a path of the portal, with GET.
func (s *site) redirect(w http.ResponseWriter, r *http.Request, path string) {
	http.Redirect(w, r, s.base+path, http.StatusSeeOther) // #nosec G710 -- each path begins with /portal/
}
