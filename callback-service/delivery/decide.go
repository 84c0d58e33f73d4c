package delivery

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Kind of a verdict.
type Kind int

// The verdicts on an attempt.
const (
	Succeed Kind = iota // done
	Retry               // another attempt after Wait
	Fail                // given up: a dead letter
	Disable             // given up, and the subscription is over
	Hold                // the gateway failed, not the endpoint: the same attempt again after Wait
)

// Verdict is what follows from an attempt.
type Verdict struct {
	Kind Kind
	Wait time.Duration
	// Reason is a sentence for people; empty on success.
	Reason string
}

const (
	// holdWait is how long a delivery rests when the gateway could not be asked.
	holdWait = 2 * time.Second
	// longestRetryAfter bounds what an endpoint can ask for.
	longestRetryAfter = 24 * time.Hour
)

// Decide is the whole policy:
//
//	any 2xx            success (Standard Webhooks 1.0)
//	410                the endpoint is gone: no retry, the subscription is disabled
//	429, 503           retry, after Retry-After if the endpoint sent one (RFC 9110, section 10.2.3), at most a day
//	everything else    retry on the schedule: 3xx too, since redirects are not followed
//	no answer          retry on the schedule, whatever the egress says went wrong
//	gateway's 400, 413, 431   the gateway will never take this request: given up
//	gateway's others   hold: the same attempt again, none is used up
//
// attempt counts from 1. After the schedule's last wait there is no further attempt.
func Decide(answer gateway.Answer, attempt int, schedule []time.Duration, now time.Time) Verdict {
	switch answer.Outcome {
	case contract.OutcomeResponse:
		return decideResponse(answer, attempt, schedule, now)
	case contract.OutcomeAddressRefused, contract.OutcomeDNS, contract.OutcomeConnect, contract.OutcomeTLS,
		contract.OutcomeTimeout, contract.OutcomeReset:
		return onSchedule(attempt, schedule, describe(answer.Outcome))
	}
	switch answer.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return Verdict{Kind: Fail, Reason: fmt.Sprintf("the gateway does not take this request: %d %s", answer.Status, http.StatusText(answer.Status))}
	}
	return Verdict{Kind: Hold, Wait: holdWait, Reason: "the gateway cannot make the call at the moment"}
}

func decideResponse(answer gateway.Answer, attempt int, schedule []time.Duration, now time.Time) Verdict {
	reason := fmt.Sprintf("the endpoint answered %d", answer.Status)
	switch status := answer.Status; {
	case status >= 200 && status <= 299:
		return Verdict{Kind: Succeed}
	case status == http.StatusGone:
		return Verdict{Kind: Disable, Reason: reason + ": it is gone, and the subscription was disabled"}
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		verdict := onSchedule(attempt, schedule, reason)
		if wait := retryAfter(answer.RetryAfter, now); verdict.Kind == Retry && wait > 0 {
			verdict.Wait = wait
		}
		return verdict
	}
	return onSchedule(attempt, schedule, reason)
}

func onSchedule(attempt int, schedule []time.Duration, reason string) Verdict {
	if attempt > len(schedule) {
		return Verdict{Kind: Fail, Reason: fmt.Sprintf("given up after %d attempts: %s", attempt, reason)}
	}
	return Verdict{Kind: Retry, Wait: schedule[attempt-1], Reason: reason}
}

// retryAfter reads both forms, seconds and date. Zero means that there is nothing to obey.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return max(0, min(wait, longestRetryAfter))
}

func describe(outcome contract.Outcome) string {
	switch outcome {
	case contract.OutcomeAddressRefused:
		return "the callback's host leads to an address that may not be called"
	case contract.OutcomeDNS:
		return "the callback's host does not resolve"
	case contract.OutcomeConnect:
		return "the endpoint takes no connection"
	case contract.OutcomeTLS:
		return "the endpoint's TLS handshake or certificate failed"
	case contract.OutcomeTimeout:
		return "the endpoint did not answer in time"
	}
	return "the endpoint broke the connection"
}
