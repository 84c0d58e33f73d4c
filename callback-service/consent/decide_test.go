package consent

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

const origin = "webhooks.example"

func answered(status int, pairs ...string) gateway.Answer {
	header := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		header.Set(pairs[i], pairs[i+1])
	}
	return gateway.Answer{Outcome: contract.OutcomeResponse, Status: status, Header: header}
}

func said(status int, body string) gateway.Answer {
	answer := answered(status)
	answer.Body = []byte(body)
	return answer
}

func TestDecideHandshake(t *testing.T) {
	const allowed, rate = "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"
	for name, c := range map[string]struct {
		answer gateway.Answer
		want   Kind
		rate   int
		reason string
	}{
		"our origin":                     {answered(200, allowed, origin, rate, "120"), Granted, 120, ""},
		"any origin":                     {answered(204, allowed, "*", rate, "*"), Granted, 0, ""},
		"our origin in capitals":         {answered(200, allowed, strings.ToUpper(origin)), Granted, 0, ""},
		"without a rate":                 {answered(200, allowed, origin), Granted, 0, ""},
		"another origin":                 {answered(200, allowed, "other.example", rate, "*"), Refused, 0, "neither " + origin},
		"a list of origins":              {answered(200, allowed, origin+", other.example"), Refused, 0, "neither"},
		"an origin that begins like it":  {answered(200, allowed, origin+".evil.example"), Refused, 0, "neither"},
		"a rate of none":                 {answered(200, allowed, origin, rate, "0"), Refused, 0, "WebHook-Allowed-Rate"},
		"a rate that can't be read":      {answered(200, allowed, origin, rate, "ten"), Refused, 0, "WebHook-Allowed-Rate"},
		"no origin":                      {answered(200, rate, "*"), Unspoken, 0, "without WebHook-Allowed-Origin"},
		"an origin, but an error":        {answered(403, allowed, origin), Unspoken, 0, "403"},
		"OPTIONS is not allowed":         {answered(405), Unspoken, 0, "405"},
		"not found":                      {answered(404), Unspoken, 0, "404"},
		"not implemented":                {answered(501), Unspoken, 0, "501"},
		"too many requests":              {answered(429, allowed, origin), Again, 0, "429"},
		"a fault of the endpoint's":      {answered(500, allowed, origin), Again, 0, "500"},
		"a redirect":                     {answered(307, allowed, origin), Again, 0, "redirects are not followed"},
		"gone":                           {answered(410, allowed, origin), Refused, 0, "gone"},
		"no address that may be called":  {gateway.Answer{Outcome: contract.OutcomeAddressRefused, Status: 502}, Again, 0, "may not be called"},
		"no connection":                  {gateway.Answer{Outcome: contract.OutcomeConnect, Status: 502}, Again, 0, "no connection"},
		"the gateway's own 503":          {gateway.Answer{Status: 503}, Hold, 0, "gateway"},
		"the gateway's, with the header": {gateway.Answer{Status: 200, Header: http.Header{allowed: {"*"}}}, Hold, 0, "gateway"},
		"no gateway":                     {gateway.Answer{}, Hold, 0, "gateway"},
		"too much for the gateway":       {gateway.Answer{Status: 431}, Refused, 0, "431"},
	} {
		t.Run(name, func(t *testing.T) {
			got := DecideHandshake(c.answer, origin)
			require.Equal(t, c.want, got.Kind)
			require.Equal(t, c.rate, got.Rate)
			require.Contains(t, got.Reason, c.reason)
			require.Equal(t, c.want == Granted, got.Reason == "")
		})
	}
}

func TestNoAnswerWithoutConsentGrants(t *testing.T) {
	for status := range 1000 {
		require.NotEqual(t, Granted, DecideHandshake(answered(status), origin).Kind, "OPTIONS %d", status)
		require.NotEqual(t, Granted, DecideChallenge(said(status, "OK"), "text").Kind, "challenge %d", status)
		if status < 200 || status > 299 {
			require.NotEqual(t, Granted, DecideHandshake(answered(status, contract.HeaderAllowedOrigin, "*"), origin).Kind, "OPTIONS %d", status)
			require.NotEqual(t, Granted, DecideChallenge(said(status, "text"), "text").Kind, "challenge %d", status)
		}
	}
}

func TestDecideChallenge(t *testing.T) {
	const challenge = "MFRGG"
	request, err := json.Marshal(map[string]string{"type": challengeType, "challenge": challenge})
	require.NoError(t, err)
	cut := said(200, challenge)
	cut.Detail = contract.DetailAnswerCut
	for name, c := range map[string]struct {
		answer gateway.Answer
		want   Kind
		reason string
	}{
		"the challenge":              {said(200, challenge), Granted, ""},
		"with white space around it": {said(201, "\n "+challenge+"\r\n"), Granted, ""},
		"as JSON":                    {said(200, `{"challenge":"`+challenge+`","ok":true}`), Granted, ""},
		"nothing":                    {said(204, ""), Again, "without the challenge"},
		"another":                    {said(200, "MFRGGA"), Again, "without the challenge"},
		"in other case":              {said(200, "mfrgg"), Again, "without the challenge"},
		"among other text":           {said(200, "your challenge was "+challenge), Again, "without the challenge"},
		"deeper in JSON":             {said(200, `{"data":{"challenge":"`+challenge+`"}}`), Again, "without the challenge"},
		"as no text":                 {said(200, `{"challenge":[`+challenge+`]}`), Again, "without the challenge"},
		"the request itself":         {said(200, string(request)), Again, "the whole request back"},
		"an error":                   {said(500, challenge), Again, "500"},
		"a client's error":           {said(404, challenge), Again, "404"},
		"a redirect":                 {said(302, challenge), Again, "redirects are not followed"},
		"gone":                       {said(410, challenge), Refused, "gone"},
		"too long":                   {cut, Again, "64 KiB"},
		"no answer":                  {gateway.Answer{Outcome: contract.OutcomeTimeout, Status: 504, Body: []byte(challenge)}, Again, "in time"},
		"the gateway's own":          {gateway.Answer{Status: 200, Body: []byte(challenge)}, Hold, "gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			got := DecideChallenge(c.answer, challenge)
			require.Equal(t, c.want, got.Kind)
			require.Contains(t, got.Reason, c.reason)
			require.NotContains(t, got.Reason, challenge)
		})
	}
}

func FuzzDecideChallenge(f *testing.F) {
	const challenge = "MFRGGZDFMZTWQ2LKNNWG23TPOA"
	for _, body := range []string{"", challenge, `{"challenge":"` + challenge + `"}`, `{"type":"webhook.verification"}`, "null", "[1]"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if DecideChallenge(said(200, string(body)), challenge).Kind != Granted {
			return
		}
		var text string
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) == nil {
			for name, raw := range object {
				if strings.EqualFold(name, "challenge") && json.Unmarshal(raw, &text) == nil && text == challenge {
					return
				}
			}
		}
		require.Equal(t, challenge, strings.TrimSpace(string(body)))
	})
}
