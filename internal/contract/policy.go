package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of a delivery policy.
const (
	// MaxRetries is the most waits of a retry schedule.
	MaxRetries = 50
	// MaxRetryWait is the longest wait of a retry schedule.
	MaxRetryWait = 7 * 24 * time.Hour
	// MaxTimeout is below the 60 s that the gateway waits.
	MaxTimeout = 55 * time.Second
	// MinTimeout is the shortest timeout that can be asked for.
	MinTimeout = 100 * time.Millisecond
)

// Duration is a time.Duration that is written as in "1m30s".
type Duration time.Duration

// String is the shortest form that Go's time.ParseDuration reads: "2m", where Go writes "2m0s".
func (d Duration) String() string {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// MarshalText writes what String says.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "1m30s".
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return errors.New("is not a duration: write it as 500ms, 30s, 2m or 1h30m")
	}
	*d = Duration(parsed)
	return nil
}

// DeliveryPolicy is how deliveries are attempted. Zero fields take what stands behind: the resource's policy for a
// subscription, the service's defaults for a resource.
type DeliveryPolicy struct {
	// RetrySchedule holds the waits between attempts: n waits make n+1 attempts. Nil: not set. Empty: no retry.
	RetrySchedule []Duration `json:"retry_schedule,omitzero"`
	Timeouts      Timeouts   `json:"timeouts,omitzero"`
}

// Timeouts bound one attempt, each from its start.
type Timeouts struct {
	// Connect bounds DNS, TCP and TLS.
	Connect Duration `json:"connect,omitempty"`
	// Header bounds the wait for the answer's headers.
	Header Duration `json:"header,omitempty"`
	// Total bounds all of it, the answer's body included.
	Total Duration `json:"total,omitempty"`
}

// DeliveryPolicy returns the part of a resource's policy that says how deliveries are attempted: its members
// "retry_schedule" and "timeouts". The others are for others.
func (r Resource) DeliveryPolicy() (DeliveryPolicy, error) {
	var p DeliveryPolicy
	if len(r.Policy) == 0 {
		return p, nil
	}
	if err := json.Unmarshal(r.Policy, &p); err != nil {
		return DeliveryPolicy{}, fmt.Errorf("the resource's policy: %w", err)
	}
	return p, nil
}

// Or fills what is not set from another policy.
func (p DeliveryPolicy) Or(behind DeliveryPolicy) DeliveryPolicy {
	if p.RetrySchedule == nil {
		p.RetrySchedule = behind.RetrySchedule
	}
	p.Timeouts = p.Timeouts.or(behind.Timeouts)
	return p
}

func (t Timeouts) or(behind Timeouts) Timeouts {
	if t.Connect == 0 {
		t.Connect = behind.Connect
	}
	if t.Header == 0 {
		t.Header = behind.Header
	}
	if t.Total == 0 {
		t.Total = behind.Total
	}
	return t
}

// FieldError names the field of a policy that is refused.
type FieldError struct{ Field, Message string }

func (e *FieldError) Error() string { return e.Field + " " + e.Message }

// Check returns a *FieldError for each field that can't be used, nil if there is none.
func (p DeliveryPolicy) Check() []*FieldError {
	var faults []*FieldError
	if len(p.RetrySchedule) > MaxRetries {
		faults = append(faults, &FieldError{"retry_schedule", fmt.Sprintf("has more than %d waits", MaxRetries)})
	}
	for i, wait := range p.RetrySchedule {
		if wait <= 0 || time.Duration(wait) > MaxRetryWait {
			faults = append(faults, &FieldError{fmt.Sprintf("retry_schedule[%d]", i), "must be more than zero and at most 168h"})
		}
	}
	for _, t := range []struct {
		name  string
		value Duration
	}{{"connect", p.Timeouts.Connect}, {"header", p.Timeouts.Header}, {"total", p.Timeouts.Total}} {
		if d := time.Duration(t.value); d != 0 && (d < MinTimeout || d > MaxTimeout) {
			faults = append(faults, &FieldError{"timeouts." + t.name, fmt.Sprintf("must be %v to %v", MinTimeout, MaxTimeout)})
		}
	}
	return faults
}
