package contract

import (
	"fmt"
	"time"
)

// What the log of attempts keeps unless the resource's policy says otherwise, and the bounds of what it can say.
const (
	DefaultLogAge     = 7 * 24 * time.Hour
	DefaultLogBytes   = 4 << 20
	DefaultLogExcerpt = 1 << 10

	MinLogAge   = time.Hour
	MaxLogAge   = 90 * 24 * time.Hour
	MinLogBytes = 64 << 10
	MaxLogBytes = 1 << 30
	// MaxLogExcerpt keeps an attempt under way within what it may cost.
	MaxLogExcerpt = 16 << 10
)

// LogPolicy bounds what is kept of each subscription's deliveries and of the log of their attempts.
type LogPolicy struct {
	// MaxAge is how long it is kept; zero: DefaultLogAge.
	MaxAge Duration `json:"max_age,omitempty"`
	// MaxBytes bounds both together, about; zero: DefaultLogBytes.
	MaxBytes int `json:"max_bytes,omitempty"`
	// BodyExcerpt is how much of each body is kept, in bytes; nil: DefaultLogExcerpt.
	BodyExcerpt *int `json:"body_excerpt,omitempty"`
}

// Age is how long deliveries and attempts are kept.
func (p LogPolicy) Age() time.Duration {
	if p.MaxAge == 0 {
		return DefaultLogAge
	}
	return time.Duration(p.MaxAge)
}

func (p LogPolicy) bytes() int {
	if p.MaxBytes == 0 {
		return DefaultLogBytes
	}
	return p.MaxBytes
}

// LogBytes is what the log of a subscription's attempts may take: a half.
func (p LogPolicy) LogBytes() int { return p.bytes() / 2 }

// Deliveries is how many of a subscription's deliveries are kept: the other half, at half a KiB each.
func (p LogPolicy) Deliveries() int { return p.bytes() / 1024 }

// Excerpt is how much of a body is kept, in bytes.
func (p LogPolicy) Excerpt() int {
	if p.BodyExcerpt == nil {
		return DefaultLogExcerpt
	}
	return *p.BodyExcerpt
}

// Check returns a *FieldError for each field that can't be used.
func (p LogPolicy) Check() []*FieldError {
	var faults []*FieldError
	if age := time.Duration(p.MaxAge); age != 0 && (age < MinLogAge || age > MaxLogAge) {
		faults = append(faults, &FieldError{"log.max_age", "must be 1h to 2160h"})
	}
	if p.MaxBytes != 0 && (p.MaxBytes < MinLogBytes || p.MaxBytes > MaxLogBytes) {
		faults = append(faults, &FieldError{"log.max_bytes", fmt.Sprintf("must be %d to %d", MinLogBytes, MaxLogBytes)})
	}
	if n := p.Excerpt(); n < 0 || n > MaxLogExcerpt {
		faults = append(faults, &FieldError{"log.body_excerpt", fmt.Sprintf("must be 0 to %d", MaxLogExcerpt)})
	}
	return faults
}
