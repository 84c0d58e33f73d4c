package portal

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// visit is one call of somebody who is signed in.
type visit struct {
	*site

	w    http.ResponseWriter
	r    *http.Request
	user contract.PortalUser
	// consumer is who is signed in, with the grants of this moment; of an admin it has the name alone.
	consumer contract.Consumer
	token    string
	// api makes calls in the name of who is signed in.
	api client
}

// anybody is for pages of consumers and admins alike.
const anybody contract.ActorKind = ""

// maxForm is the longest form, in bytes: more than the API takes as JSON.
const maxForm = 256 << 10

// as serves a page for a kind of user, if one is signed in, and refuses forms that are not of their session. What the page returns
// as an error becomes a page in one place.
func (s *site) as(kind contract.ActorKind, page func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visit(w, r, kind)
		if err == nil {
			err = page(v)
		}
		if err != nil {
			s.fail(w, r, v, err)
		}
	}
}

func (s *site) visit(w http.ResponseWriter, r *http.Request, kind contract.ActorKind) (*visit, error) {
	user, consumer, err := s.session(r)
	if err != nil {
		return nil, err
	}
	v := &visit{site: s, w: w, r: r, user: user, consumer: consumer, token: s.token(r)}
	through := s.API.AsConsumer(user)
	if user.Actor.Kind == contract.ActorAdmin {
		through = s.API.AsAdmin(user.Actor.ID)
	}
	v.api = client{through, api.AddressOf(r)}
	if kind != anybody && kind != user.Actor.Kind {
		return v, &problem{Status: http.StatusNotFound, Title: "Not found", Detail: "there is no page at this address"}
	}
	return v, v.checkForm()
}

// checkForm reads a form and refuses one that another session, or no page of ours, has made.
func (v *visit) checkForm() error {
	if v.r.Method != http.MethodPost {
		return nil
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
	if err := v.r.ParseForm(); err != nil {
		return &problem{Status: http.StatusBadRequest, Title: "Bad request", Detail: "the form can't be read, or is too long"}
	}
	if !sameText(cmp.Or(v.r.Header.Get(csrfHeader), v.r.PostForm.Get("csrf")), csrfOf(v.token)) {
		return &problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: "the page is of an earlier session: open it again and send it once more"}
	}
	return nil
}

// fail is the one place where errors become pages.
func (s *site) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	var p *problem
	switch {
	case errors.Is(err, errSignedOut):
		s.signedOut(w, r)
		return
	case !errors.As(err, &p):
		s.Log.Error("a page failed", zap.String("request", api.IDOf(r.Context())), zap.Error(err))
		p = &problem{Status: http.StatusServiceUnavailable, Title: "Not available", Detail: "something is away that this page needs: try again (request " + api.IDOf(r.Context()) + ")"}
	}
	if p.Status == http.StatusUnauthorized { // in the middle of the call
		s.signedOut(w, r)
		return
	}
	s.render(w, r, v, p.Status, "problem", p.Title, p)
}

// page shows a page.
func (v *visit) page(name, title string, data any) error {
	v.render(v.w, v.r, v, http.StatusOK, name, title, data)
	return nil
}

// goTo sends the browser on after a form. done is a key of doneTexts, or "".
func (v *visit) goTo(path, done string) error {
	if done != "" {
		path += "?done=" + done
	}
	v.redirect(v.w, v.r, path)
	return nil
}

// doneTexts are what a page says after a form: they come by a key, so that no link can make a page say something else.
var doneTexts = map[string]string{}

// at is a time as pages show it.
func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
