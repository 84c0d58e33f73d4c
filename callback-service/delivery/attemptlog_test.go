package delivery

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// anEntry is one whose answer and subscription a test changes.
func anEntry(sub *contract.Subscription, body string) *logEntry {
	return &logEntry{
		delivery: contract.Delivery{ID: "dlv_1", Attempts: []contract.Attempt{{Number: 1, DurationMS: 7}}}, sub: sub,
		answer: gateway.Answer{Outcome: contract.OutcomeResponse, Status: 500, Header: http.Header{}, Body: []byte(body)},
	}
}

func TestTheLogShowsARequestButForItsSecrets(t *testing.T) {
	sub := &contract.Subscription{CallbackURL: "https://consumer.example/", Confidential: contract.Confidential{
		Headers: map[string]string{"x-team": "billing"},
		Auth:    &contract.Auth{Type: contract.AuthHeaders, Headers: map[string]string{"X-Key": "s3cr3t"}},
	}}
	header := http.Header{"Webhook-Id": {"dlv_1"}, "X-Team": {"billing"}, "X-Key": {"s3cr3t"}, "Authorization": {"Bearer t0ken"}, "Cookie": {"a=b"}}
	l := anEntry(sub, "")
	l.sent = sentBy(sub, header, []byte("0123456789"), 4)
	require.Equal(t, &contract.AttemptRequest{
		Method: "POST", URL: "https://consumer.example/", Body: "0123", BodyBytes: 10, BodyCut: true,
		Headers: []contract.Header{{Name: "Authorization", Value: contract.Hidden}, {Name: "Cookie", Value: contract.Hidden}, {Name: "Webhook-Id", Value: "dlv_1"},
			{Name: "X-Key", Value: contract.Hidden}, {Name: "X-Team", Value: contract.Hidden}},
	}, l.entry().Delivery.Attempts[0].Request)
	l.sent = nil
	require.Nil(t, l.entry().Delivery.Attempts[0].Request, "none was made")
}

func TestBodiesAreTextOrBase64AndNeverEndWithinACharacter(t *testing.T) {
	for _, c := range []struct {
		body, text string
		base64     bool
		excerpt    int
		cut        bool
	}{
		{"plain", "plain", false, 100, false},
		{"plain", "pla", false, 3, true},
		{"", "", false, 100, false},
		{"plain", "", false, 0, true},
		{"caffè", "caff", false, 5, true},
		{"caffè", "caffè", false, 6, false},
		{"\xff\xfe\x00", "//4A", true, 100, false},
		{"caff\xc3", "Y2FmZsM=", true, 100, false}, // that is all there is: it was no cut
	} {
		sub := &contract.Subscription{}
		l := anEntry(sub, c.body)
		l.policy = contract.LogPolicy{BodyExcerpt: &c.excerpt}
		l.sent = sentBy(sub, nil, []byte(c.body), c.excerpt)
		a := l.entry().Delivery.Attempts[0]
		require.Equal(t, []any{c.text, c.base64, c.cut, len(c.body)}, []any{a.Request.Body, a.Request.BodyBase64, a.Request.BodyCut, a.Request.BodyBytes}, "%q", c.body)
		require.Equal(t, []any{c.text, c.base64, c.cut}, []any{a.Response.Body, a.Response.BodyBase64, a.Response.BodyCut}, "%q", c.body)
	}
}

// Endpoints for tests like to answer with the request that they got.
func TestWhatAnEndpointEchoesOfOurSecretsIsHidden(t *testing.T) {
	secret := `s3cr3t/"of"\the<consumer>`
	for name, sub := range map[string]*contract.Subscription{
		"a header":        {Confidential: contract.Confidential{Headers: map[string]string{"X-Key": secret}}},
		"a secret header": {Confidential: contract.Confidential{Auth: &contract.Auth{Type: contract.AuthHeaders, Headers: map[string]string{"X-Key": secret}}}},
		"a bearer token":  {Confidential: contract.Confidential{Auth: &contract.Auth{Type: contract.AuthBearer, Token: secret}}},
		"a password":      {Confidential: contract.Confidential{Auth: &contract.Auth{Type: contract.AuthBasic, Username: "me", Password: secret}}},
		"an access token": {Confidential: contract.Confidential{Auth: &contract.Auth{Type: contract.AuthOAuth2}}},
	} {
		t.Run(name, func(t *testing.T) {
			quoted, err := json.Marshal(secret)
			require.NoError(t, err)
			basic := base64.StdEncoding.EncodeToString([]byte("me:" + secret))
			echo := secret + " " + string(quoted) + " "
			if name == "a password" {
				echo += basic
			}
			for excerpt := range len(echo) + 2 { // wherever it is cut
				policy := contract.LogPolicy{BodyExcerpt: &excerpt}
				token := map[bool]string{true: secret}[name == "an access token"]
				whole := echo + strings.Repeat("x", 100)
				l := anEntry(sub, whole[:min(len(whole), kept(sub, token, policy))])
				l.token, l.policy = token, policy
				l.answer.Header.Set(contract.HeaderAnswered, contract.EncodeHeaders(http.Header{"X-Echo": {secret}}))
				r := l.entry().Delivery.Attempts[0].Response
				require.Equal(t, contract.Hidden, r.Headers[0].Value)
				for _, hidden := range []string{secret, string(quoted[1 : len(quoted)-1]), basic} {
					require.NotContains(t, r.Body, hidden[:leastSecret], "with %d bytes", excerpt)
				}
			}
		})
	}
}

func TestTimingsAreTheEgresssAndTheWaitIsOurs(t *testing.T) {
	l := anEntry(&contract.Subscription{}, "")
	l.queued = 1500 * time.Microsecond
	require.Equal(t, &contract.Timings{QueuedMS: 1.5, TotalMS: 7}, l.entry().Delivery.Attempts[0].Timings, "nobody was asked")
	l.answer.Header.Set(contract.HeaderTimings, contract.Timings{DNSMS: 1, TotalMS: 5}.Encode())
	require.Equal(t, &contract.Timings{QueuedMS: 1.5, DNSMS: 1, TotalMS: 5}, l.entry().Delivery.Attempts[0].Timings)
	l.answer.Outcome = contract.OutcomeConnect
	require.Nil(t, l.entry().Delivery.Attempts[0].Response)
}
