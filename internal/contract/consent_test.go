package contract

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReconsider(t *testing.T) {
	const url, other = "https://a.example/h", "https://b.example/h"
	by := func(v Verification) *Consent { return &Consent{Asked: v, By: v, State: ConsentVerified, Round: "old"} }
	open := &Consent{Asked: VerifyHandshake, State: ConsentPending, Round: "old"}
	for name, c := range map[string]struct {
		was     Status
		consent *Consent
		url     string // where callbacks go then
		asked   Status
		policy  Verification
		want    Status
		round   string // "old": the consent stays; "new": another one is asked for; "": there is none
		err     error
	}{
		"another description":                           {was: StatusActive, consent: by(VerifyHandshake), url: url, policy: VerifyHandshake, want: StatusActive, round: "old"},
		"another description, while pending":            {was: StatusPending, consent: open, url: url, policy: VerifyHandshake, want: StatusPending, round: "old"},
		"another URL":                                   {was: StatusActive, consent: by(VerifyHandshake), url: other, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"another URL, while pending":                    {was: StatusPending, consent: open, url: other, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"another URL and active, while pending":         {was: StatusPending, consent: open, url: other, asked: StatusActive, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"another URL, while paused":                     {was: StatusPaused, consent: by(VerifyHandshake), url: other, policy: VerifyHandshake, want: StatusPaused},
		"another URL and paused":                        {was: StatusActive, consent: by(VerifyHandshake), url: other, asked: StatusPaused, policy: VerifyHandshake, want: StatusPaused},
		"another URL, while disabled":                   {was: StatusDisabled, consent: by(VerifyHandshake), url: other, policy: VerifyHandshake, want: StatusDisabled},
		"another URL, without verification":             {was: StatusActive, url: other, want: StatusActive},
		"another URL, no more verification":             {was: StatusPending, consent: open, url: other, policy: VerifyNone, want: StatusActive},
		"active, while pending":                         {was: StatusPending, consent: open, url: url, asked: StatusActive, policy: VerifyHandshake, err: ErrUnproven},
		"active, while pending, no more verification":   {was: StatusPending, consent: open, url: url, asked: StatusActive, policy: VerifyNone, want: StatusActive},
		"active again, with a consent":                  {was: StatusPaused, consent: by(VerifyHandshake), url: url, asked: StatusActive, policy: VerifyHandshake, want: StatusActive, round: "old"},
		"active again, with one of another kind":        {was: StatusPaused, consent: by(VerifyChallenge), url: url, asked: StatusActive, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"active again, with one of either kind":         {was: StatusPaused, consent: by(VerifyChallenge), url: url, asked: StatusActive, policy: VerifyAny, want: StatusActive, round: "old"},
		"active again, without a consent":               {was: StatusPaused, url: url, asked: StatusActive, policy: VerifyChallenge, want: StatusPending, round: "new"},
		"active again, paused before it was given":      {was: StatusPaused, consent: open, url: url, asked: StatusActive, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"active again, after the endpoint said 410":     {was: StatusDisabled, consent: by(VerifyHandshake), url: url, asked: StatusActive, policy: VerifyHandshake, want: StatusPending, round: "new"},
		"active again, of a time without verification":  {was: StatusPaused, url: url, asked: StatusActive, want: StatusActive},
		"active again, after 410, without verification": {was: StatusDisabled, url: url, asked: StatusActive, want: StatusActive},
	} {
		t.Run(name, func(t *testing.T) {
			before := Subscription{CallbackURL: url, Status: c.was, Consent: c.consent}
			after := before
			after.CallbackURL = c.url
			if c.asked != "" {
				after.Status = c.asked
			}
			require.ErrorIs(t, after.Reconsider(before, c.asked, c.policy, now), c.err)
			if c.err != nil {
				return
			}
			require.Equal(t, c.want, after.Status)
			round := ""
			if after.Consent != nil {
				round = "new"
				if after.Consent.Round == "old" {
					round = "old"
				}
			}
			require.Equal(t, c.round, round)
			require.Equal(t, c.round == "new", after.NextAsked().Equal(now), "it is asked at once")
		})
	}
}

func TestTheWayOfAConsent(t *testing.T) {
	sub := Subscription{ID: "sub_1"}
	require.ErrorIs(t, sub.InRound("ask_1"), ErrRound)
	sub.AskConsent(VerifyAny, now)
	begun, round := sub, sub.Consent.Round
	require.NoError(t, sub.InRound(round))
	require.ErrorIs(t, sub.InRound("ask_1"), ErrRound)
	require.Contains(t, sub.StatusReason, "any")

	sub.Attempt()
	sub.Refused("it was closed", now.Add(time.Minute), now)
	require.Equal(t, now.Add(time.Minute), sub.NextAsked())
	require.Equal(t, StatusPending, sub.Status)
	sub.Attempt()
	sub.Refused("it was closed", time.Time{}, now)
	require.Zero(t, sub.NextAsked())
	require.Equal(t, Consent{Asked: VerifyAny, State: ConsentFailed, Round: round, Attempts: 2, LastError: "it was closed", BegunAt: now}, *sub.Consent)
	require.Contains(t, sub.StatusReason, "it was closed")
	require.NoError(t, sub.InRound(round), "it can still be given, by link")

	sub.Consented(VerifyChallenge, 30, now)
	require.Equal(t, StatusActive, sub.Status)
	require.Empty(t, sub.StatusReason)
	require.True(t, VerifyAny.Accepts(sub.Consent) && VerifyChallenge.Accepts(sub.Consent) && VerifyNone.Accepts(sub.Consent))
	require.False(t, VerifyHandshake.Accepts(sub.Consent))
	require.ErrorIs(t, sub.InRound(round), ErrRound, "once is enough")
	require.Equal(t, ConsentPending, begun.Consent.State, "copies have their own")
}

func TestAPausedSubscriptionIsNotAsked(t *testing.T) {
	var sub Subscription
	sub.AskConsent(VerifyHandshake, now)
	sub.Status = StatusPaused
	require.Zero(t, sub.NextAsked())
	require.ErrorIs(t, sub.InRound(sub.Consent.Round), ErrRound)
}

func TestTheLowerOfTheTwoRatesHolds(t *testing.T) {
	for _, c := range []struct {
		limit   float64
		granted int
		want    float64
	}{{0, 0, 0}, {2.5, 0, 2.5}, {0, 30, 0.5}, {2.5, 30, 0.5}, {0.1, 30, 0.1}} {
		sub := Subscription{RateLimit: c.limit, Consent: &Consent{AllowedRate: c.granted}}
		require.InDelta(t, c.want, sub.Rate(), 1e-9)
	}
	require.InDelta(t, 3, (&Subscription{RateLimit: 3}).Rate(), 1e-9)
}

func FuzzParseAllowedRate(f *testing.F) {
	for text, want := range map[string]int{"": 0, "*": 0, "1": 1, "120": 120, "2147483647": 2147483647, "99999999999999999999": 0} {
		got, err := ParseAllowedRate(text)
		require.NoError(f, err, text)
		require.Equal(f, want, got)
		f.Add(text)
	}
	for _, text := range []string{"0", "-1", "+1", "1.5", "1e3", " 1", "many", "**", "1,2", "0x10", "١"} {
		_, err := ParseAllowedRate(text)
		require.Error(f, err, text)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseAllowedRate(text)
		require.GreaterOrEqual(t, got, 0)
		if err != nil && len(text) > 5 {
			require.NotContains(t, err.Error(), text, "what an endpoint sends is not repeated")
		}
	})
}

func TestSender(t *testing.T) {
	for _, c := range []struct{ origin, url, wantOrigin, wantURL string }{
		{"", "", DefaultOrigin, ""},
		{"", "https://Hooks.example.com/", "hooks.example.com", "https://Hooks.example.com"},
		{"", "http://127.0.0.1:9080", DefaultOrigin, "http://127.0.0.1:9080"},
		{"", "http://[::1]:9080/base/", DefaultOrigin, "http://[::1]:9080/base"},
		{"events.example.com", "https://hooks.example.com", "events.example.com", "https://hooks.example.com"},
	} {
		got, err := NewSender(c.origin, c.url)
		require.NoError(t, err)
		require.Equal(t, Sender{c.wantOrigin, c.wantURL}, got)
	}
	for _, c := range []struct{ origin, url, name string }{
		{"https://events.example.com", "", "WEBHOOK_ORIGIN"}, {"*.example.com", "", "WEBHOOK_ORIGIN"}, {"a b", "", "WEBHOOK_ORIGIN"},
		{"127.0.0.1", "", "WEBHOOK_ORIGIN"}, {"a\r\nb", "", "WEBHOOK_ORIGIN"},
		{"", "hooks.example.com", "WEBHOOK_PUBLIC_URL"}, {"", "ftp://a.example", "WEBHOOK_PUBLIC_URL"}, {"", "https://u:secret@a.example", "WEBHOOK_PUBLIC_URL"},
		{"", "https://a.example/?x=1", "WEBHOOK_PUBLIC_URL"}, {"", "https://", "WEBHOOK_PUBLIC_URL"},
	} {
		_, err := NewSender(c.origin, c.url)
		require.ErrorContains(t, err, c.name)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestALinkHoldsForADayAndForNothingElse(t *testing.T) {
	s, link := signerAt(t, key, now), ConsentLink{Subscription: "sub_1", Round: "ask_1"}
	same := func(got ConsentLink, err error) {
		t.Helper()
		require.NoError(t, err)
		require.NotEmpty(t, got.Statement)
		got.Statement = ""
		require.Equal(t, link, got)
	}
	token, err := s.SignLink(link)
	require.NoError(t, err)
	same(signerAt(t, key, now.Add(23*time.Hour)).VerifyLink(token))
	_, err = signerAt(t, key, now.Add(25*time.Hour)).VerifyLink(token)
	require.ErrorIs(t, err, ErrStatement)
	_, err = signerAt(t, strings.Repeat("x", MinKeyBytes), now).VerifyLink(token)
	require.ErrorIs(t, err, ErrStatement)

	stated, err := s.SignConsent(link)
	require.NoError(t, err)
	same(s.VerifyConsent(stated))
	_, err = signerAt(t, key, now.Add(2*time.Minute)).VerifyConsent(stated)
	require.ErrorIs(t, err, ErrStatement)
	for _, lacking := range []ConsentLink{{Subscription: "sub_1"}, {Round: "ask_1"}} {
		token, err := s.SignLink(lacking)
		require.NoError(t, err)
		_, err = s.VerifyLink(token)
		require.ErrorIs(t, err, ErrStatement)
	}

	callback, err := s.SignCallback(Callback{Target: "https://a.example", Subscription: "sub_1", Delivery: "ask_1"})
	require.NoError(t, err)
	caller, err := s.SignCaller(Caller{Consumer: "sub_1", Resource: "orders", Action: ActionSubscribe, Method: "GET", Path: "/-/consent"})
	require.NoError(t, err)
	for kind, verify := range map[string]func(string) error{
		"link":     func(t string) error { _, err := s.VerifyLink(t); return err },
		"consent":  func(t string) error { _, err := s.VerifyConsent(t); return err },
		"caller":   func(t string) error { _, err := s.VerifyCaller(t); return err },
		"callback": func(t string) error { _, err := s.VerifyCallback(t); return err },
	} {
		for of, token := range map[string]string{"link": token, "consent": stated, "caller": caller, "callback": callback} {
			require.Equal(t, kind == of, verify(token) == nil, "%s as %s", of, kind)
		}
	}
}
