package portal

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

// showLink shows whom a link signs in and asks for a click: what only looks at links (a preview in a chat, a mail scanner) must not use
// it up.
func (s *site) showLink(w http.ResponseWriter, r *http.Request) {
	_, consumer, err := s.linked(r)
	if err != nil {
		s.badLink(w, r, err)
		return
	}
	s.render(w, r, nil, http.StatusOK, "signin", "Sign in", consumer.Name)
}

// linked returns whom the link of a call would sign in here.
func (s *site) linked(r *http.Request) (contract.PortalUser, contract.Consumer, error) {
	user, err := s.Store.PortalLink(r.Context(), r.PathValue("token"))
	if err != nil {
		return user, contract.Consumer{}, err
	}
	consumer, err := s.known(r, user)
	if err == nil && !s.Now().Before(user.Ends) {
		err = fmt.Errorf("link: %w", store.ErrNotFound)
	}
	return user, consumer, err
}

func (s *site) badLink(w http.ResponseWriter, r *http.Request, err error) {
	if !errors.Is(err, store.ErrNotFound) {
		s.fail(w, r, nil, err)
		return
	}
	s.render(w, r, nil, http.StatusGone, "signedout", "This link does not hold any more", s.howTo("The link was used, is older than five minutes, or is for another address. "))
}

// signIn uses a link up and begins a session, always a new one: what the browser had before is ended.
func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	user, _, err := s.linked(r)
	if err != nil {
		s.badLink(w, r, err)
		return
	}
	err = s.audited(r, user.Actor, "portal-sign-in", func() error { return s.begin(w, r) })
	if err != nil {
		s.badLink(w, r, err)
		return
	}
	s.redirect(w, r, "/portal/")
}

func (s *site) begin(w http.ResponseWriter, r *http.Request) error {
	user, err := s.Store.UsePortalLink(r.Context(), r.PathValue("token"))
	if err != nil {
		return err
	}
	if old := s.token(r); old != "" {
		if err := s.Store.EndPortalSession(r.Context(), old); err != nil {
			return err
		}
	}
	if user.Ends = s.Now().Add(contract.PortalSessionLife); !user.Until.IsZero() && user.Until.Before(user.Ends) {
		user.Ends = user.Until
	}
	token, err := s.Store.CreatePortalSession(r.Context(), user, contract.PortalIdle)
	if err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(token))
	return nil
}

// signOut ends the session.
func signOut(v *visit) error {
	err := v.audited(v.r, v.user.Actor, "portal-sign-out", func() error { return v.Store.EndPortalSession(v.r.Context(), v.token) })
	if err != nil {
		return err
	}
	http.SetCookie(v.w, v.cookie(""))
	v.redirect(v.w, v.r, "/portal/")
	return nil
}

// audited does something only after the audit log has it, and writes there how it ended.
func (s *site) audited(r *http.Request, actor contract.Actor, action string, do func() error) error {
	e := contract.AuditEntry{Actor: actor, Action: action, Object: contract.PathPortal, From: api.AddressOf(r), Request: api.IDOf(r.Context())}
	begun, err := s.Store.BeginAudit(r.Context(), e)
	if err != nil {
		return err
	}
	e.Status = http.StatusSeeOther
	if err = do(); errors.Is(err, store.ErrNotFound) {
		e.Status = http.StatusGone
	} else if err != nil {
		e.Status = http.StatusServiceUnavailable
	}
	if ending := s.Store.EndAudit(context.WithoutCancel(r.Context()), begun, e); ending != nil {
		s.Log.Error("the end of an audit entry was not written", zap.String("request", e.Request), zap.Error(ending))
	}
	return err
}

// signedOut says how to get in. It is all that the portal tells anybody.
func (s *site) signedOut(w http.ResponseWriter, r *http.Request) {
	status := http.StatusUnauthorized
	if r.URL.Path == contract.PathPortal+"/" {
		status = http.StatusOK
	}
	if s.token(r) != "" {
		http.SetCookie(w, s.cookie(""))
	}
	s.render(w, r, nil, status, "signedout", "Sign in with a link", s.howTo(""))
}

// howTo is what the page for strangers says.
type howTo struct {
	Why   string
	Admin bool // how an admin gets a link
	Both  bool // how a consumer gets one, too
	URL   string
}

func (s *site) howTo(why string) howTo {
	h := howTo{Why: why, Admin: s.admins(), Both: s.door == contract.DoorGateway, URL: s.At.URL}
	if s.door == contract.DoorAdmin {
		h.URL = s.At.AdminURL
	}
	return h
}
