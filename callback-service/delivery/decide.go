package delivery

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
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
	Hold                // the gateway failed, not the endpoint: the same attempt again, none is used up
)

// Verdict is what follows from an attempt.
type Verdict struct {
	Kind Kind
	Wait time.Duration
	// Reason is a sentence for people; empty on success.
	Reason string
	// Detail is the egress's, or what became of Retry-After.
	Detail contract.Detail
	// Health is what the attempt says of the endpoint, for its circuit breaker.
	Health lane.Result
	// Pause is how long the endpoint wants no attempt at all.
	Pause time.Duration
}

// longestRetryAfter bounds what an endpoint can ask for.
const longestRetryAfter = 24 * time.Hour

// Decide is the whole policy:
//
//	answer                      delivery                                               breaker
//	2xx                         success (Standard Webhooks 1.0)                        works
//	410                         given up, the subscription is disabled                 works
//	429, 503 with Retry-After   retry then (RFC 9110, section 10.2.3), at most a day   fails
//	429, 503 without            retry on the schedule                                  fails
//	other 5xx                   retry on the schedule                                  fails
//	other 4xx, 3xx, 1xx         retry on the schedule: redirects are not followed      works
//	no answer                   retry on the schedule, whatever went wrong             fails
//	no access token to ask with retry on the schedule                                  fails
//	gateway's 400, 413, 431     given up: the gateway will never take this request     unknown
//	gateway's others            hold: the same attempt again, none is used up          unknown
//
// attempt counts from 1 in each round: an event's own delivery is one, each replay another. After the schedule's last wait
// there is no further attempt.
func Decide(answer gateway.Answer, attempt int, schedule []time.Duration, now time.Time) Verdict {
	switch answer.Outcome {
	case contract.OutcomeResponse:
		return decideResponse(answer, attempt, schedule, now)
	case contract.OutcomeAddressRefused, contract.OutcomeDNS, contract.OutcomeConnect, contract.OutcomeTLS,
		contract.OutcomeTimeout, contract.OutcomeReset, contract.OutcomeToken:
		return onSchedule(Verdict{Reason: answer.Failure(), Detail: answer.Detail, Health: lane.Dead}, attempt, schedule)
	}
	if reason := answer.Untakable(); reason != "" {
		return Verdict{Kind: Fail, Reason: reason}
	}
	return Verdict{Kind: Hold, Reason: gateway.Busy}
}

func decideResponse(answer gateway.Answer, attempt int, schedule []time.Duration, now time.Time) Verdict {
	v := Verdict{Reason: fmt.Sprintf("the endpoint answered %d", answer.Status), Detail: answer.Detail, Health: lane.Alive}
	switch status := answer.Status; {
	case status >= 200 && status <= 299:
		return Verdict{Kind: Succeed, Detail: answer.Detail, Health: lane.Alive}
	case status == http.StatusGone:
		v.Kind, v.Reason = Disable, v.Reason+": it is gone, and the subscription was disabled"
		return v
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		v.Health = lane.Dead
		return obey(onSchedule(v, attempt, schedule), answer.RetryAfter, now)
	case status >= 500:
		v.Health = lane.Dead
	}
	return onSchedule(v, attempt, schedule)
}

func onSchedule(v Verdict, attempt int, schedule []time.Duration) Verdict {
	if attempt > len(schedule) {
		v.Kind, v.Reason = Fail, fmt.Sprintf("given up after %s: %s", attempts(attempt), v.Reason)
		return v
	}
	v.Kind, v.Wait = Retry, schedule[attempt-1]
	return v
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return strconv.Itoa(n) + " attempts"
}

// obey puts Retry-After in the place of the schedule's wait. It also holds for the endpoint's other deliveries.
func obey(v Verdict, value string, now time.Time) Verdict {
	if value == "" {
		return v
	}
	wait, readable := retryAfter(value, now)
	switch {
	case !readable || wait <= 0:
		v.Detail = contract.DetailRetryAfterUnusable
		return v
	case wait > longestRetryAfter:
		wait, v.Detail = longestRetryAfter, contract.DetailRetryAfterBounded
	}
	v.Pause = wait
	if v.Kind == Retry {
		v.Wait = wait
	}
	return v
}

// retryAfter reads both forms, seconds and date.
func retryAfter(value string, now time.Time) (wait time.Duration, readable bool) {
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err == nil || errors.Is(err, strconv.ErrRange) { // out of range, it is the highest there is
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	return at.Sub(now), err == nil
}
