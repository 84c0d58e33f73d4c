package client

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
)

// Fault is what is wrong with one field.
type Fault struct {
	Location string `json:"location,omitempty"`
	Message  string `json:"message"`
}

// Problem is an answer that is no success (RFC 9457). What sent it need not be ours: see Ours.
type Problem struct {
	Type   string  `json:"type,omitempty"`
	Title  string  `json:"title,omitempty"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty"`
	Errors []Fault `json:"errors,omitempty"`

	Ours       bool          `json:"-"` // it has the media type of our problems
	RetryAfter time.Duration `json:"-"` // zero if it does not say
	call       string
}

// ProblemOf reads an answer that is no success; call says of what, as "GET /orders".
func ProblemOf(a Answer, call string) error {
	p := &Problem{call: call}
	media, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if media == contract.MediaProblem && json.Unmarshal(a.Body, p) == nil {
		p.Ours = true
	} else {
		p.Detail = Excerpt(a.Body, 200)
	}
	p.Status = a.Status
	if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err == nil {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return exit.With(exit.OfStatus(a.Status), p)
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, http.StatusText(p.Status))
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if !p.Ours {
		text += fmt.Sprintf(" (%s; the answer is not of the webhook services: check the address, or run webhookctl doctor)", p.call)
	}
	return text
}

// Excerpt is the beginning of an answer on one line, cut after so many bytes.
func Excerpt(body []byte, most int) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "?")), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
