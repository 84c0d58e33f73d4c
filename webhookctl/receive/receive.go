// Package receive is an endpoint to try callbacks with: it shows each one, checks its signature, and consents where it is asked.
package receive

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/signature"
)

// Got is one request.
type Got struct {
	At     time.Time   `json:"at"`
	Method string      `json:"method"`
	Path   string      `json:"path"`
	Header http.Header `json:"headers"`
	Body   []byte      `json:"-"`
	// Verdict is nil where nothing was to check.
	Verdict *signature.Verdict `json:"verdict,omitempty"`
	// Consent says how a question for consent was answered, "" where none was asked.
	Consent string `json:"consent,omitempty"`
	Status  int    `json:"status"`
}

// Endpoint answers callbacks.
type Endpoint struct {
	Keys signature.Keys
	// Status is what callbacks are answered.
	Status int
	// Consent tells whether to consent to callbacks.
	Consent   bool
	Tolerance time.Duration
	Now       func() time.Time
	// Show is told of each request, one at a time or at once.
	Show func(Got)
}

// mostBody is the longest body that is read, in bytes: more than any callback has.
const mostBody = 32 << 20

// ServeHTTP takes one request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBody))
	if err != nil {
		return // whoever sent it is gone
	}
	got := Got{At: e.Now(), Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header, Body: body, Status: e.Status}
	if r.Method != http.MethodOptions && len(e.Keys.Secrets)+len(e.Keys.Public) > 0 {
		verdict := signature.Verify(signature.Message{Header: r.Header, Body: body}, e.Keys, e.Now(), e.Tolerance)
		got.Verdict = &verdict
	}
	answer := e.answer(w, r, &got)
	e.Show(got)
	w.WriteHeader(got.Status)
	_, _ = w.Write(answer) // whoever asked is gone
}

// answer decides what to answer, and sets its headers.
func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request, got *Got) []byte {
	origin := r.Header.Get(contract.HeaderRequestOrigin)
	challenge := challengeIn(got.Body)
	switch {
	case r.Method == http.MethodOptions && origin != "":
		return e.handshake(w, origin, got)
	case challenge != "" && e.Consent && (got.Verdict == nil || got.Verdict.Holds):
		got.Consent, got.Status = "given to a challenge", http.StatusOK
		w.Header().Set("Content-Type", "application/json")
		answer, _ := json.Marshal(map[string]string{"challenge": challenge}) // text: never fails
		return answer
	case challenge != "":
		got.Consent = "not given to a challenge"
	}
	return nil
}

func (e *Endpoint) handshake(w http.ResponseWriter, origin string, got *Got) []byte {
	if !e.Consent {
		got.Consent = "not given to a handshake"
		return nil
	}
	got.Consent, got.Status = "given to a handshake", http.StatusOK
	w.Header().Set(contract.HeaderAllowedOrigin, origin)
	w.Header().Set(contract.HeaderAllowedRate, "*")
	w.Header().Set("Allow", http.MethodPost)
	return nil
}

// challengeIn finds the question that the service asks with a signed POST; "" in every other body.
func challengeIn(body []byte) string {
	var question struct{ Type, Challenge string }
	if json.Unmarshal(body, &question) != nil || question.Type != "webhook.verification" {
		return ""
	}
	return question.Challenge
}
