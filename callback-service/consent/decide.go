package consent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Kind of a verdict.
type Kind int

// The verdicts on an answer.
const (
	Granted  Kind = iota // the endpoint wants callbacks
	Refused              // it does not: it is asked no more
	Unspoken             // it does not know the handshake
	Again                // ask again on the schedule
	Hold                 // the gateway failed, not the endpoint: the same again, no attempt is used up
)

// Verdict is what follows from an answer.
type Verdict struct {
	Kind Kind
	// Rate is granted, in requests per minute; zero: no bound.
	Rate int
	// Reason is a sentence for people; empty if granted.
	Reason string
}

// DecideHandshake reads the answer to OPTIONS (CloudEvents HTTP webhook 1.0.2, section 4.2):
//
//	2xx with our origin or *, and a rate that can be read, or none    granted
//	2xx with another origin, or a rate that can't be read; 410        refused
//	2xx without an origin, 501, other 4xx                             unspoken: no consent, perhaps a late one
//	429, other 5xx, 3xx, no answer                                    again
func DecideHandshake(answer gateway.Answer, origin string) Verdict {
	if v, decided := common(answer); decided {
		return v
	}
	reason := fmt.Sprintf("the endpoint answered OPTIONS with %d", answer.Status)
	switch {
	case success(answer.Status):
		return decideOrigin(answer.Header, reason, origin)
	case answer.Status == http.StatusNotImplemented,
		answer.Status >= 400 && answer.Status <= 499 && answer.Status != http.StatusTooManyRequests:
		return Verdict{Kind: Unspoken, Reason: reason}
	}
	return Verdict{Kind: Again, Reason: reason}
}

func decideOrigin(header http.Header, reason, origin string) Verdict {
	allowed := header.Get(contract.HeaderAllowedOrigin)
	if allowed == "" {
		return Verdict{Kind: Unspoken, Reason: reason + " and without WebHook-Allowed-Origin"}
	}
	if allowed != "*" && !strings.EqualFold(allowed, origin) { // a DNS name
		return Verdict{Kind: Refused, Reason: "the endpoint's WebHook-Allowed-Origin is neither " + origin + " nor an asterisk"}
	}
	rate, err := contract.ParseAllowedRate(header.Get(contract.HeaderAllowedRate))
	if err != nil {
		return Verdict{Kind: Refused, Reason: "the endpoint's " + err.Error()}
	}
	return Verdict{Rate: rate}
}

// DecideChallenge reads the answer to a challenge: a 2xx that holds it is a consent.
func DecideChallenge(answer gateway.Answer, challenge string) Verdict {
	if v, decided := common(answer); decided {
		return v
	}
	v := Verdict{Kind: Again, Reason: fmt.Sprintf("the endpoint answered the challenge with %d", answer.Status)}
	switch {
	case !success(answer.Status):
	case answer.Detail == contract.DetailAnswerCut:
		v.Reason = "the endpoint's answer to the challenge is longer than 64 KiB"
	case mirrors(answer.Body):
		v.Reason = "the endpoint sent the whole request back: its answer must be the challenge alone, or {\"challenge\": …}"
	case !echoes(answer.Body, challenge):
		v.Reason += " and without the challenge: answer with it alone, or {\"challenge\": …}"
	default:
		return Verdict{}
	}
	return v
}

// common decides over what means the same for both questions.
func common(answer gateway.Answer) (v Verdict, decided bool) {
	failure := answer.Failure()
	switch {
	case failure != "":
		return Verdict{Kind: Again, Reason: failure}, true
	case answer.Outcome == contract.OutcomeResponse && answer.Status == http.StatusGone:
		return Verdict{Kind: Refused, Reason: "the endpoint answered 410: it is gone"}, true
	case answer.Outcome == contract.OutcomeResponse && answer.Status >= 300 && answer.Status <= 399:
		return Verdict{Kind: Again, Reason: fmt.Sprintf("the endpoint answered %d: redirects are not followed", answer.Status)}, true
	case answer.Outcome == contract.OutcomeResponse:
		return v, false
	}
	if reason := answer.Untakable(); reason != "" {
		return Verdict{Kind: Refused, Reason: reason}, true
	}
	return Verdict{Kind: Hold, Reason: gateway.Busy}, true
}

func success(status int) bool { return status >= 200 && status <= 299 }

// echoes takes the challenge as it is, or as the member "challenge" of a JSON object.
func echoes(body []byte, challenge string) bool {
	if string(bytes.TrimSpace(body)) == challenge {
		return true
	}
	var answer struct {
		Challenge string `json:"challenge"`
	}
	return json.Unmarshal(body, &answer) == nil && answer.Challenge == challenge
}

// mirrors tells a server that sends back whatever it gets: that is no consent.
func mirrors(body []byte) bool {
	var answer struct {
		Type string `json:"type"`
	}
	return json.Unmarshal(body, &answer) == nil && answer.Type == challengeType
}
