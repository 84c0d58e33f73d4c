package contract

import "net/http"

// MediaProblem is the media type of every error answer (RFC 9457).
const MediaProblem = "application/problem+json"

// Problem is an error answer in the form of RFC 9457. Type is the URL of its kind.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// NewProblem builds a problem of the status's own kind, whose title is the status's text.
func NewProblem(status int, detail string) Problem {
	return Problem{Type: KindOf(status).URL(), Title: http.StatusText(status), Status: status, Detail: detail}
}

// Problem builds a problem of the kind.
func (k Kind) Problem(detail string) Problem {
	return Problem{Type: k.URL(), Title: http.StatusText(k.Status()), Status: k.Status(), Detail: detail}
}

// Kind is what kind of problem it is, if it is one of ours.
func (p Problem) Kind() (Kind, bool) { return KindFromURL(p.Type) }
