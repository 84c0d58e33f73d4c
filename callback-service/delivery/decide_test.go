package delivery

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/callback-service/gateway"
	"github.com/apisix-webhooks/apisix-webhooks/callback-service/lane"
	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

var (
	noon     = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	schedule = []time.Duration{5 * time.Second, 30 * time.Second}
)

func TestEveryStatusHasItsVerdict(t *testing.T) {
	for status := 100; status < 600; status++ {
		want := Retry
		switch {
		case status >= 200 && status < 300:
			want = Succeed
		case status == http.StatusGone:
			want = Disable
		}
		got := Decide(gateway.Answer{Outcome: contract.OutcomeResponse, Status: status}, 1, schedule, noon)
		require.Equal(t, want, got.Kind, "status %d", status)
		require.Equal(t, want == Succeed, got.Reason == "", "status %d", status)
	}
}

func TestEveryStatusOfTheGatewayItselfHolds(t *testing.T) {
	given := map[int]bool{400: true, 413: true, 431: true}
	for status := 0; status < 600; status++ {
		want := Hold
		if given[status] {
			want = Fail
		}
		require.Equal(t, want, Decide(gateway.Answer{Status: status}, 7, schedule, noon).Kind, "status %d", status)
	}
}

func TestEveryOutcomeHasItsVerdict(t *testing.T) {
	for outcome, want := range map[contract.Outcome]Kind{
		contract.OutcomeAddressRefused: Retry, contract.OutcomeDNS: Retry, contract.OutcomeConnect: Retry,
		contract.OutcomeTLS: Retry, contract.OutcomeTimeout: Retry, contract.OutcomeReset: Retry, contract.OutcomeToken: Retry,
		contract.OutcomeUnvouched: Hold, contract.OutcomeOverloaded: Hold, "": Hold, "unheard-of": Hold,
	} {
		got := Decide(gateway.Answer{Outcome: outcome, Status: http.StatusBadGateway}, 1, schedule, noon)
		require.Equal(t, want, got.Kind, "outcome %q", outcome)
		require.NotEmpty(t, got.Reason)
	}
}

func TestABreakerHearsOfEndpointsThatDoNotWorkAndOfNothingElse(t *testing.T) {
	for status := 100; status < 600; status++ {
		want := lane.Alive
		if status >= 500 || status == http.StatusTooManyRequests {
			want = lane.Dead
		}
		require.Equal(t, want, Decide(gateway.Answer{Outcome: contract.OutcomeResponse, Status: status}, 1, schedule, noon).Health, "status %d", status)
		require.Equal(t, lane.Unknown, Decide(gateway.Answer{Status: status}, 1, schedule, noon).Health, "the gateway's own %d", status)
	}
	for _, outcome := range []contract.Outcome{contract.OutcomeAddressRefused, contract.OutcomeDNS, contract.OutcomeConnect, contract.OutcomeTLS,
		contract.OutcomeTimeout, contract.OutcomeReset} {
		require.Equal(t, lane.Dead, Decide(gateway.Answer{Outcome: outcome}, 1, schedule, noon).Health, "outcome %q", outcome)
	}
}

func TestWithoutAScheduleThereIsOneAttempt(t *testing.T) {
	got := Decide(gateway.Answer{Outcome: contract.OutcomeDNS}, 1, nil, noon)
	require.Equal(t, Fail, got.Kind)
	require.Equal(t, "given up after 1 attempt: the callback's host does not resolve", got.Reason)
}

func TestTheScheduleIsFollowedToItsEnd(t *testing.T) {
	answer := gateway.Answer{Outcome: contract.OutcomeResponse, Status: 500}
	for attempt, want := range map[int]Verdict{
		1: {Kind: Retry, Wait: 5 * time.Second, Reason: "the endpoint answered 500", Health: lane.Dead},
		2: {Kind: Retry, Wait: 30 * time.Second, Reason: "the endpoint answered 500", Health: lane.Dead},
		3: {Kind: Fail, Reason: "given up after 3 attempts: the endpoint answered 500", Health: lane.Dead},
	} {
		require.Equal(t, want, Decide(answer, attempt, schedule, noon))
	}
}

func TestRetryAfterIsObeyedInBothFormsAndBounded(t *testing.T) {
	for _, c := range []struct {
		value  string
		want   time.Duration
		pause  time.Duration
		detail contract.Detail
	}{
		{"120", 2 * time.Minute, 2 * time.Minute, ""},
		{noon.Add(time.Hour).Format(http.TimeFormat), time.Hour, time.Hour, ""},
		{"", 5 * time.Second, 0, ""},
		{"0", 5 * time.Second, 0, contract.DetailRetryAfterUnusable},
		{"-5", 5 * time.Second, 0, contract.DetailRetryAfterUnusable},
		{"soon", 5 * time.Second, 0, contract.DetailRetryAfterUnusable},
		{"31536000", 24 * time.Hour, 24 * time.Hour, contract.DetailRetryAfterBounded},
		{"99999999999999999999", 24 * time.Hour, 24 * time.Hour, contract.DetailRetryAfterBounded},
		{"Wed, 21 Oct 2099 07:28:00 GMT", 24 * time.Hour, 24 * time.Hour, contract.DetailRetryAfterBounded},
		{"Wed, 21 Oct 1915 07:28:00 GMT", 5 * time.Second, 0, contract.DetailRetryAfterUnusable},
	} {
		for _, status := range []int{429, 503} {
			answer := gateway.Answer{Outcome: contract.OutcomeResponse, Status: status, RetryAfter: c.value}
			got := Decide(answer, 1, schedule, noon)
			require.Equal(t, c.want, got.Wait, "%d %q", status, c.value)
			require.Equal(t, c.pause, got.Pause, "%d %q", status, c.value)
			require.Equal(t, c.detail, got.Detail, "%d %q", status, c.value)
		}
		answer := gateway.Answer{Outcome: contract.OutcomeResponse, Status: 500, RetryAfter: c.value}
		require.Equal(t, 5*time.Second, Decide(answer, 1, schedule, noon).Wait, "only 429 and 503 name a time: %q", c.value)
	}
	exhausted := gateway.Answer{Outcome: contract.OutcomeResponse, Status: 429, RetryAfter: "1"}
	require.Equal(t, Fail, Decide(exhausted, 3, schedule, noon).Kind, "Retry-After gives no further attempt")
}

func TestJitterNeverShortensAWait(t *testing.T) {
	for range 1000 {
		got := jitter(time.Second)
		require.GreaterOrEqual(t, got, time.Second)
		require.LessOrEqual(t, got, 1100*time.Millisecond)
	}
}

func ExampleDecide() {
	answer := gateway.Answer{Outcome: contract.OutcomeResponse, Status: 503, RetryAfter: "90"}
	verdict := Decide(answer, 1, []time.Duration{5 * time.Second}, time.Now())
	fmt.Println(verdict.Wait, verdict.Reason)
	// Output: 1m30s the endpoint answered 503
}
