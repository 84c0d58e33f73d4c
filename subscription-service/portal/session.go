package portal

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

// errSignedOut means that a call has no session that holds.
var errSignedOut = errors.New("nobody is signed in")

// cookieName differs by listener: cookies know no ports.
func (s *site) cookieName() string {
	name := "webhook-portal"
	if s.door == contract.DoorAdmin {
		name += "-admin"
	}
	if s.secure {
		name = "__Host-" + name // the browser takes it over https only, for this host and all of its paths
	}
	return name
}

// cookie is the session's in the browser; an empty token takes it away.
func (s *site) cookie(token string) *http.Cookie {
	c := &http.Cookie{ // #nosec G124 -- without https there is no Secure
		Name: s.cookieName(), Value: token, Path: "/", MaxAge: int(contract.PortalSessionLife / time.Second),
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode,
	}
	if s.secure && len(s.FrameAncestors) > 0 { // in another site's frame a strict one is not sent
		c.SameSite, c.Partitioned = http.SameSiteNoneMode, true
	}
	if token == "" {
		c.MaxAge = -1
	}
	return c
}

// token is the session's that a call has; "" for none.
func (s *site) token(r *http.Request) string {
	cookies := r.CookiesNamed(s.cookieName())
	if len(cookies) != 1 {
		return ""
	}
	return cookies[0].Value
}

// session returns who is signed in, and what they may do at this moment; errSignedOut for nobody.
func (s *site) session(r *http.Request) (user contract.PortalUser, consumer contract.Consumer, err error) {
	token := s.token(r)
	if token == "" {
		return user, consumer, errSignedOut
	}
	user, err = s.Store.PortalSession(r.Context(), token, contract.PortalIdle, s.Now())
	if err == nil {
		consumer, err = s.known(r, user)
	}
	if errors.Is(err, store.ErrNotFound) {
		err = errSignedOut
	}
	return user, consumer, err
}

// known checks that somebody is there still, and may be at this listener. A consumer comes with its grants.
func (s *site) known(r *http.Request, user contract.PortalUser) (contract.Consumer, error) {
	admin := user.Actor.Kind == contract.ActorAdmin
	stranger := admin && (!s.admins() || !s.Admins.Has(user.Actor.ID))
	switch {
	case user.Door != s.door, stranger:
		return contract.Consumer{}, fmt.Errorf("user: %w", store.ErrNotFound)
	case admin:
		return contract.Consumer{Name: user.Actor.ID}, nil
	}
	if err := s.keyed(r, user); err != nil {
		return contract.Consumer{}, err
	}
	return s.Store.Consumer(r.Context(), user.Actor.ID)
}

// keyed checks that the credential still holds that the link was made with.
func (s *site) keyed(r *http.Request, user contract.PortalUser) error {
	if !user.Until.IsZero() && !s.Now().Before(user.Until) {
		return fmt.Errorf("credential: %w", store.ErrNotFound)
	}
	if user.Key == "" {
		return nil
	}
	known, err := s.Store.HasKey(r.Context(), user.Actor.ID, user.Key)
	if err == nil && !known {
		err = fmt.Errorf("key: %w", store.ErrNotFound)
	}
	return err
}

// csrfOf is what every form of a session carries. Nobody can tell it who does not have the cookie.
func csrfOf(token string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// csrfHeader carries it where a script sends.
const csrfHeader = "X-Csrf-Token"

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
