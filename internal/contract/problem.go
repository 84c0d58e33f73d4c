package contract

import "net/http"

// MediaProblem is the media type of every error answer (RFC 9457).
const MediaProblem = "application/problem+json"

// Problem is an error answer in the form of RFC 9457.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// NewProblem builds a problem whose title is the status's text.
func NewProblem(status int, detail string) Problem {
	return Problem{Title: http.StatusText(status), Status: status, Detail: detail}
}
