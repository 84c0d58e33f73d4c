// Package exit says what the exit codes of webhookctl mean.
package exit

import (
	"context"
	"errors"
	"net/http"
)

// Code is a process's exit code.
type Code int

// The codes; Help documents them.
const (
	OK Code = iota
	Failed
	Usage
	NotFound
	Refused
	Invalid
	Unavailable
	Partial
	Interrupted Code = 130
)

// Help is what `webhookctl help exit-codes` prints.
const Help = `webhookctl ends with one of these codes:

  0    it is done
  1    it failed, for a reason that has no code of its own; or what was checked is not as it should be (verify, doctor)
  2    the command line or the configuration is wrong
  3    what was asked for is not there
  4    refused: no credential, one that is not accepted, or a grant is missing
  5    what was sent is invalid, or conflicts with what is there
  6    unavailable: a part can't be reached, answers that it can't work now, or a limit is used up; try again later
  7    only a part of it is done, as when publishing many events breaks off
  130  it was interrupted

An error is said on stderr, the faults of single fields on lines of their own. With -o json it is an object there, too.`

// Error is an error with the code that the process ends with.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the error itself.
func (e *Error) Unwrap() error { return e.Err }

// With gives an error a code; nil stays nil.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{code, err}
}

// Of is the code for an error: that of the outermost Error in it, OK for nil.
func Of(err error) Code {
	var coded *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &coded):
		return coded.Code
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	}
	return Failed
}

// OfStatus is the code for an answer's HTTP status.
func OfStatus(status int) Code {
	switch {
	case status < 300:
		return OK
	case status == http.StatusNotFound, status == http.StatusGone:
		return NotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Refused
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status >= 500:
		return Unavailable
	case status >= 400:
		return Invalid
	}
	return Failed
}
