package api

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Pace is how fast callbacks come, in which order, and how each is attempted. An absent field stays as it is, which is the
// default in a new subscription; null takes it away.
type Pace struct {
	RateLimit     optional[float64]           `json:"rate_limit,omitzero" minimum:"0.1" maximum:"10000" doc:"attempts per second at most, in tenths. None: no bound" example:"50"`
	MaxInFlight   optional[whole]             `json:"max_in_flight,omitzero" minimum:"1" maximum:"1000" doc:"attempts under way at a time at most; 10 unless set"`
	Ordering      optional[contract.Ordering] `json:"ordering,omitzero" enum:"none,subject" doc:"subject: callbacks of events with the same CloudEvents subject, or with none, come one after the other"`
	RetrySchedule optional[[]string]          `json:"retry_schedule,omitzero" doc:"the waits between attempts, up to 50 of at most 168h; []: one attempt only. None: the resource's, or the service's" example:"[\"5s\",\"30s\",\"2m\"]"`
	Timeouts      optional[timeoutsBody]      `json:"timeouts,omitzero" doc:"replaces all. What is not set: the resource's, or the service's"`
}

// timeoutsBody bounds one attempt.
type timeoutsBody struct {
	Connect *string `json:"connect,omitempty" doc:"DNS, TCP and TLS: 100ms to 55s" example:"5s"`
	Header  *string `json:"header,omitempty" doc:"from the start to the answer's headers: 100ms to 55s" example:"15s"`
	Total   *string `json:"total,omitempty" doc:"all of it: 100ms to 55s" example:"15s"`
}

// whole is an integer in each of JSON's spellings: 10, 10.0 and 1e1 are one number.
type whole int

// UnmarshalJSON leaves it to the schema to refuse fractions.
func (w *whole) UnmarshalJSON(raw []byte) error {
	var number float64
	if err := json.Unmarshal(raw, &number); err != nil {
		return fmt.Errorf("reading an integer: %w", err)
	}
	*w = whole(number)
	return nil
}

func (p *Pace) faults(at string) []error {
	_, errs := p.policy().read(at)
	if rate := p.RateLimit.Value; rate != nil && math.Abs(*rate-tenths(*rate)) > 1e-9 {
		errs = append(errs, fault(at+"rate_limit", "is too fine: one decimal is what counts"))
	}
	return errs
}

func tenths(rate float64) float64 { return math.Round(rate*10) / 10 }

func (p *Pace) policy() policyBody {
	var body policyBody
	p.RetrySchedule.apply(&body.RetrySchedule)
	p.Timeouts.apply(&body.Timeouts)
	return body
}

// apply changes the record.
func (p *Pace) apply(sub *contract.Subscription) {
	inFlight := whole(sub.MaxInFlight)
	p.MaxInFlight.apply(&inFlight)
	sub.MaxInFlight = int(inFlight)
	p.RateLimit.apply(&sub.RateLimit)
	p.Ordering.apply(&sub.Ordering)
	policy, _ := p.policy().read("") // without faults by now
	if p.RetrySchedule.Sent {
		sub.Delivery.RetrySchedule = policy.RetrySchedule
	}
	if p.Timeouts.Sent {
		sub.Delivery.Timeouts = policy.Timeouts
	}
}

// policyBody is a delivery policy as it is sent: with a subscription, or as a part of a resource's policy.
type policyBody struct {
	RetrySchedule []string     `json:"retry_schedule"`
	Timeouts      timeoutsBody `json:"timeouts"`
}

// read returns the policy, and each fault with its place.
func (b policyBody) read(at string) (contract.DeliveryPolicy, []error) {
	var policy contract.DeliveryPolicy
	var errs []error
	if b.RetrySchedule != nil {
		policy.RetrySchedule = make([]contract.Duration, len(b.RetrySchedule)) // an empty one is not none
	}
	for i, text := range b.RetrySchedule {
		policy.RetrySchedule[i] = readDuration(fmt.Sprintf("%sretry_schedule[%d]", at, i), text, &errs)
	}
	policy.Timeouts = contract.Timeouts{
		Connect: readTimeout(at+"timeouts.connect", b.Timeouts.Connect, &errs),
		Header:  readTimeout(at+"timeouts.header", b.Timeouts.Header, &errs),
		Total:   readTimeout(at+"timeouts.total", b.Timeouts.Total, &errs),
	}
	for _, f := range policy.Check() {
		errs = append(errs, fault(at+f.Field, f.Message))
	}
	return policy, errs
}

func readDuration(at, text string, errs *[]error) contract.Duration {
	var d contract.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		*errs = append(*errs, fault(at, err.Error()))
		return contract.Duration(contract.MinTimeout) // passes every check: its one fault is enough
	}
	return d
}

func readTimeout(at string, text *string, errs *[]error) contract.Duration {
	if text == nil {
		return 0
	}
	if d := readDuration(at, *text, errs); d != 0 {
		return d
	}
	return -1 // zero would count as not set: refused like the others that are too short
}
