package token

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Failure is why there is no token. Its text holds neither where the token was asked for nor what was answered.
type Failure struct {
	Detail contract.Detail
	// Status is what the token's endpoint answered, if it did.
	Status int
	// Code is the error of RFC 6749, section 5.2, if it was one of those.
	Code string
}

func (f *Failure) Error() string {
	if f.Code == "" {
		return "no access token: " + string(f.Detail)
	}
	return "no access token: " + string(f.Detail) + ": " + f.Code
}

// life is how long a failure stands.
func (f *Failure) life() time.Duration {
	if f.Detail == contract.DetailTokenRefused || f.Detail == contract.DetailTokenRequest {
		return refusedLife
	}
	return failedLife
}

// AnswerOf is what an attempt amounts to for which Token returned an error.
func AnswerOf(err error) gateway.Answer {
	var failure *Failure
	var passed *gatewayError
	switch {
	case errors.As(err, &failure):
		return gateway.Answer{Outcome: contract.OutcomeToken, Detail: failure.Detail, Status: failure.Status}
	case errors.As(err, &passed):
		return passed.answer
	}
	return gateway.Answer{}
}

// gatewayError is a failure on our side of the token's endpoint: no attempt was made.
type gatewayError struct{ answer gateway.Answer }

func (e *gatewayError) Error() string {
	return "asking for an access token: the gateway made no call: " + string(e.answer.Outcome)
}

// failureOf tells apart why an answer is no token. err is the library's.
//
//	no answer in time                                       token_timeout
//	no answer for another reason of the endpoint's side     token_unreachable
//	no answer for a reason of ours                          not the endpoint's failure
//	invalid_client, unauthorized_client; 401, 403           token_refused
//	any other error of OAuth 2.0; 400                       token_request
//	all else, whatever its status                           token_answer
func failureOf(answer gateway.Answer, err error) error {
	switch answer.Outcome {
	case contract.OutcomeResponse:
		return refusalOf(answer.Status, err)
	case contract.OutcomeTimeout:
		return &Failure{Detail: contract.DetailTokenTimeout}
	case contract.OutcomeConnect:
		if answer.Detail == contract.DetailConnectTimeout {
			return &Failure{Detail: contract.DetailTokenTimeout}
		}
		return &Failure{Detail: contract.DetailTokenUnreachable}
	case contract.OutcomeTLS:
		if answer.Detail == contract.DetailClientCertificate { // that is the subscription's, and the callback would fail likewise
			return &gatewayError{answer}
		}
		return &Failure{Detail: contract.DetailTokenUnreachable}
	case contract.OutcomeDNS, contract.OutcomeReset, contract.OutcomeAddressRefused:
		return &Failure{Detail: contract.DetailTokenUnreachable}
	}
	return &gatewayError{answer}
}

// Errors of RFC 6749, section 5.2, and of RFC 8707.
var (
	refusals = []string{"invalid_client", "unauthorized_client"}
	wishes   = []string{"invalid_request", "invalid_grant", "unsupported_grant_type", "invalid_scope", "invalid_target"}
)

func refusalOf(status int, err error) error {
	f := &Failure{Detail: contract.DetailTokenAnswer, Status: status}
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		return f
	}
	switch code := said.ErrorCode; {
	case slices.Contains(refusals, code):
		f.Detail, f.Code = contract.DetailTokenRefused, code
	case slices.Contains(wishes, code):
		f.Detail, f.Code = contract.DetailTokenRequest, code
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		f.Detail = contract.DetailTokenRefused
	case status == http.StatusBadRequest:
		f.Detail = contract.DetailTokenRequest
	}
	return f
}
