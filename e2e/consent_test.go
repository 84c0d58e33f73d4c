package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// endpoint is a consumer's endpoint that can consent. It keeps what it gets.
type endpoint struct {
	URL    string
	answer func(w http.ResponseWriter, r *http.Request, body []byte)

	mu  sync.Mutex
	got []asked
}

type asked struct {
	method string
	header http.Header
	body   []byte
	at     time.Time
}

// newEndpoint answers with what answer writes; a POST beside it is a delivery, and gets 204 unless it writes something.
func newEndpoint(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, body []byte)) *endpoint {
	t.Helper()
	e := &endpoint{answer: answer}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	e.URL = server.URL + "/hooks"
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e.mu.Lock()
	e.got = append(e.got, asked{r.Method, r.Header, body, time.Now()})
	e.mu.Unlock()
	e.answer(w, r, body)
}

// of returns what came with a method.
func (e *endpoint) of(method string) []asked {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.got), func(a asked) bool { return a.method != method })
}

// consents answers OPTIONS with an origin, "=" for the one that asks, and a rate; "" leaves them out.
func consents(origin, rate string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if r.Method == http.MethodOptions {
			if origin == "=" {
				w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
			} else if origin != "" {
				w.Header().Set("WebHook-Allowed-Origin", origin)
			}
			if rate != "" {
				w.Header().Set("WebHook-Allowed-Rate", rate)
			}
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// verified sets a scene whose resource wants a consent.
func verified(t *testing.T, method string) *scene {
	t.Helper()
	s := setScene(t)
	_, err := s.Admin().Want(ctx(t), 200, "PUT", "/admin/v1/resources/"+s.resource, map[string]any{"policy": map[string]any{"verification": method}})
	require.NoError(t, err)
	return s
}

type proof struct {
	Status       string
	StatusReason string `json:"status_reason"`
	Verification struct {
		Method, State string
		Attempts      int
		LastError     string    `json:"last_error"`
		VerifiedAt    time.Time `json:"verified_at"`
		AllowedRate   int       `json:"allowed_rate"`
	}
}

func (s *scene) proof(t *testing.T, id string) (p proof) {
	t.Helper()
	answer, err := s.consumer.Want(ctx(t), 200, "GET", s.path()+"/"+id, nil)
	require.NoError(t, err)
	require.NoError(t, answer.Decode(&p))
	return p
}

// becomes waits for a state of the verification.
func (s *scene) becomes(t *testing.T, id, state string) (p proof) {
	t.Helper()
	eventually(t, "the verification is "+state, func() bool { p = s.proof(t, id); return p.Verification.State == state })
	return p
}

// pending subscribes, and checks that nothing is active yet.
func (s *scene) pending(t *testing.T, url string, more map[string]any) (id, secret string) {
	t.Helper()
	made := s.create(t, url, more)
	require.Equal(t, "pending", made.Field("status"), "%s", made.Body)
	return made.Field("id"), made.Field("secret")
}

func verify(a asked, secret string) error {
	return world.Callback{Header: a.header, Body: a.body}.Verify(secret)
}

func TestAHandshakeMakesASubscriptionActive(t *testing.T) {
	s := verified(t, "handshake")
	e := newEndpoint(t, consents("=", "*"))
	id, secret := s.pending(t, e.URL, map[string]any{"rate_limit": 2.5, "auth": map[string]string{"type": "bearer", "token": "for-the-endpoint"}})
	p := s.becomes(t, id, "verified")
	require.Equal(t, "active", p.Status)
	require.Equal(t, "handshake", p.Verification.Method)
	require.Equal(t, 1, p.Verification.Attempts)
	require.WithinDuration(t, time.Now(), p.Verification.VerifiedAt, time.Minute)
	options := e.of(http.MethodOptions)
	require.Len(t, options, 1)
	origin := options[0].header.Get("WebHook-Request-Origin")
	require.NotEmpty(t, origin)
	require.Equal(t, "150", options[0].header.Get("WebHook-Request-Rate"), "2.5 a second are 150 a minute")
	require.Equal(t, "Bearer for-the-endpoint", options[0].header.Get("Authorization"))
	require.Empty(t, options[0].body)
	require.NoError(t, verify(options[0], secret))
	requireNothingInternal(t, world.Callback{Header: options[0].header})

	s.publish(t, "one")
	eventually(t, "the event arrives", func() bool { return len(e.of(http.MethodPost)) == 1 })
	require.Equal(t, origin, e.of(http.MethodPost)[0].header.Get("WebHook-Request-Origin"), "a delivery names the origin too")
}

func TestWithoutAConsentNothingIsDeliveredAndExplainSaysWhy(t *testing.T) {
	s := verified(t, "handshake")
	cases := map[string]struct{ origin, rate, because string }{
		"another origin":               {"somebody.else.example", "*", "WebHook-Allowed-Origin"},
		"a rate that can't be read":    {"*", "many", "WebHook-Allowed-Rate"},
		"OPTIONS answered as anything": {"", "", "without WebHook-Allowed-Origin"},
	}
	endpoints, ids := map[string]*endpoint{}, map[string]string{}
	for name, c := range cases {
		endpoints[name] = newEndpoint(t, consents(c.origin, c.rate))
		ids[name], _ = s.pending(t, endpoints[name].URL, nil)
	}
	s.publish(t, "one")
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := s.path() + "/" + ids[name]
			p := s.becomes(t, ids[name], "failed")
			require.Equal(t, "pending", p.Status)
			require.Contains(t, p.Verification.LastError, c.because)
			require.Contains(t, p.StatusReason, c.because)
			_, err := s.consumer.Want(ctx(t), 409, "PATCH", path, map[string]string{"status": "active"})
			require.NoError(t, err)
			_, err = s.consumer.Want(ctx(t), 409, "POST", path+"/test", nil)
			require.NoError(t, err)
			eventually(t, "explain says pending", func() bool {
				answer, err := s.consumer.Do(ctx(t), "GET", path+"/explain?event=one", nil)
				require.NoError(t, err)
				return answer.Status == 200 && answer.Field("reason") == "status" && strings.Contains(answer.Field("detail"), "pending")
			})
			require.Empty(t, endpoints[name].of(http.MethodPost))
		})
	}
}

func TestAGrantedRateHoldsForDeliveries(t *testing.T) {
	s := verified(t, "handshake")
	e := newEndpoint(t, consents("*", "120"))
	id, _ := s.pending(t, e.URL, map[string]any{"rate_limit": 1000})
	require.Equal(t, 120, s.becomes(t, id, "verified").Verification.AllowedRate)
	const n = 6
	for i := range n {
		s.publish(t, fmt.Sprint("rate-", i))
	}
	eventually(t, "all arrive", func() bool { return len(e.of(http.MethodPost)) == n })
	got := e.of(http.MethodPost)
	// A second's worth may come at once: two, then two a second.
	require.GreaterOrEqual(t, got[n-1].at.Sub(got[0].at), (n-3)*500*time.Millisecond)
}

func TestALateConsentIsGivenByLink(t *testing.T) {
	s := verified(t, "handshake")
	for method, rate := range map[string]string{http.MethodPost: "", http.MethodGet: "?rate=90"} {
		t.Run(method, func(t *testing.T) {
			e := newEndpoint(t, consents("", ""))
			id, _ := s.pending(t, e.URL, nil)
			eventually(t, "it is asked", func() bool { return len(e.of(http.MethodOptions)) > 0 })
			link := e.of(http.MethodOptions)[0].header.Get("WebHook-Request-Callback")
			require.True(t, strings.HasPrefix(link, s.GatewayURL+"/-/consent/"), link)
			stranger := s.Consumer("")
			path := strings.TrimPrefix(link, s.GatewayURL)
			_, err := stranger.Want(ctx(t), 403, method, path+"x", nil)
			require.NoError(t, err, "a link that is not ours")
			_, err = stranger.Want(ctx(t), 422, method, path+"?rate=lots", nil)
			require.NoError(t, err)
			require.Equal(t, "pending", s.proof(t, id).Status)
			_, err = stranger.With("Content-Type", "text/plain").Want(ctx(t), 200, method, path+rate, nil)
			require.NoError(t, err)
			p := s.proof(t, id)
			require.Equal(t, "active", p.Status)
			require.Equal(t, "verified", p.Verification.State)
			require.Equal(t, map[string]int{"": 0, "?rate=90": 90}[rate], p.Verification.AllowedRate)
			_, err = stranger.Want(ctx(t), 410, method, path, nil)
			require.NoError(t, err, "once is enough")
			s.publish(t, "late-"+method)
			eventually(t, "the event arrives", func() bool { return len(e.of(http.MethodPost)) == 1 })
		})
	}
}

// echo answers a challenge with what says makes of it, and all else with 405 or, for deliveries, 204.
func echo(says func(challenge string, request []byte) string) func(http.ResponseWriter, *http.Request, []byte) {
	return func(w http.ResponseWriter, r *http.Request, body []byte) {
		var question struct{ Type, Challenge string }
		_ = json.Unmarshal(body, &question) // a delivery is none
		switch {
		case r.Method == http.MethodOptions:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case question.Type == "webhook.verification":
			_, _ = io.WriteString(w, says(question.Challenge, body))
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}
}

func TestAChallengeThatComesBackMakesASubscriptionActive(t *testing.T) {
	plain := func(challenge string, _ []byte) string { return challenge + "\n" }
	object := func(challenge string, _ []byte) string { return `{"challenge":"` + challenge + `"}` }
	for name, c := range map[string]struct {
		method string
		says   func(string, []byte) string
		asked  int // with OPTIONS before
	}{"as text": {"challenge", plain, 0}, "as JSON": {"challenge", object, 0}, "instead of the handshake": {"any", plain, 1}} {
		t.Run(name, func(t *testing.T) {
			s := verified(t, c.method)
			e := newEndpoint(t, echo(c.says))
			id, secret := s.pending(t, e.URL, nil)
			p := s.becomes(t, id, "verified")
			require.Equal(t, "active", p.Status)
			require.Equal(t, "challenge", p.Verification.Method)
			require.Len(t, e.of(http.MethodOptions), c.asked)
			posts := e.of(http.MethodPost)
			require.Len(t, posts, 1)
			require.NoError(t, verify(posts[0], secret), "signed as a delivery is")
			require.NotEmpty(t, posts[0].header.Get(standardwebhooks.HeaderWebhookID))
		})
	}
}

func TestAWrongEchoStaysPending(t *testing.T) {
	s := verified(t, "challenge")
	says := map[string]func(challenge string, request []byte) string{
		"without the challenge":  func(string, []byte) string { return "ok" },
		"the whole request back": func(_ string, request []byte) string { return string(request) },
	}
	endpoints, ids := map[string]*endpoint{}, map[string]string{}
	for because, says := range says {
		endpoints[because] = newEndpoint(t, echo(says))
		ids[because], _ = s.pending(t, endpoints[because].URL, nil)
	}
	for because, id := range ids {
		p := s.becomes(t, id, "failed")
		require.Equal(t, "pending", p.Status)
		require.Len(t, endpoints[because].of(http.MethodPost), p.Verification.Attempts)
		require.Contains(t, p.Verification.LastError, because)
	}
}

func TestAnotherCallbackURLNeedsAConsentOfItsOwn(t *testing.T) {
	s := verified(t, "handshake")
	willing, other := newEndpoint(t, consents("*", "")), newEndpoint(t, consents("", ""))
	id, _ := s.pending(t, willing.URL, nil)
	s.becomes(t, id, "verified")
	changed, err := s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"callback_url": other.URL})
	require.NoError(t, err)
	require.Equal(t, "pending", changed.Field("status"))
	s.publish(t, "one")
	eventually(t, "the other one is asked", func() bool { return s.proof(t, id).Verification.Attempts > 0 })
	require.Empty(t, other.of(http.MethodPost))
	require.Empty(t, willing.of(http.MethodPost))
	_, err = s.consumer.Want(ctx(t), 200, "PATCH", s.path()+"/"+id, map[string]string{"callback_url": willing.URL})
	require.NoError(t, err)
	require.Equal(t, "active", s.becomes(t, id, "verified").Status)
	require.Len(t, willing.of(http.MethodOptions), 2)
}

func TestNoRedirectIsFollowedForAConsent(t *testing.T) {
	s := verified(t, "any")
	elsewhere := newEndpoint(t, consents("*", "*"))
	e := newEndpoint(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	id, _ := s.pending(t, e.URL, nil)
	require.Contains(t, s.becomes(t, id, "failed").Verification.LastError, "redirects are not followed")
	require.Empty(t, elsewhere.of(http.MethodOptions))
}

// The guard of the gateway is asked, whatever the one of the API has let in.
func TestAnAddressThatMayNotBeCalledIsNotAskedForConsent(t *testing.T) {
	s := verified(t, "any")
	inPlaceOf(t, "gateway", func() bool {
		answer, err := s.consumer.Do(ctx(t), "GET", s.path(), nil)
		return err == nil && answer.Status == http.StatusOK
	}, "WEBHOOK_ALLOW_CIDRS=")
	e := newEndpoint(t, consents("*", "*"))
	id, _ := s.pending(t, e.URL, nil)
	require.Contains(t, s.becomes(t, id, "failed").Verification.LastError, "may not be called")
	require.Empty(t, e.of(http.MethodOptions))
	require.Empty(t, e.of(http.MethodPost))
}

func TestAPolicyThatAsksForNothingMakesSubscriptionsActiveAtOnce(t *testing.T) {
	s := verified(t, "none")
	e := newEndpoint(t, consents("", ""))
	id, _ := s.subscribe(t, e.URL, nil)
	require.Equal(t, "active", s.proof(t, id).Status)
	require.Empty(t, e.of(http.MethodOptions))
}
