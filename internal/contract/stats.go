package contract

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// The steps in which statistics are kept, and for how long each.
const (
	StatsFine       = 5 * time.Minute
	StatsFineLife   = 48 * time.Hour
	StatsCoarse     = time.Hour
	StatsCoarseLife = 14 * 24 * time.Hour
)

// statBounds are the upper bounds of the classes of durations, in milliseconds; one more class has what is longer.
var statBounds = [...]float64{5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000}

// Counts are what happened within a time.
type Counts struct {
	// Events are those that the listener took.
	Events int64
	// Succeeded and Failed are attempts.
	Succeeded, Failed int64
	// took counts attempts by their duration's class.
	took [len(statBounds) + 1]int64
}

// Attempt counts one.
func (c *Counts) Attempt(succeeded bool, took time.Duration) {
	if succeeded {
		c.Succeeded++
	} else {
		c.Failed++
	}
	class, ms := 0, Milliseconds(took)
	for class < len(statBounds) && ms > statBounds[class] {
		class++
	}
	c.took[class]++
}

// Add counts what others counted.
func (c *Counts) Add(other Counts) {
	c.Events, c.Succeeded, c.Failed = c.Events+other.Events, c.Succeeded+other.Succeeded, c.Failed+other.Failed
	for i, n := range other.took {
		c.took[i] += n
	}
}

func (c *Counts) numbers() []*int64 {
	all := []*int64{&c.Events, &c.Succeeded, &c.Failed}
	for i := range c.took {
		all = append(all, &c.took[i])
	}
	return all
}

// String writes the numbers with spaces between them.
func (c Counts) String() string {
	all := c.numbers()
	for len(all) > 1 && *all[len(all)-1] == 0 { // most are
		all = all[:len(all)-1]
	}
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = strconv.FormatInt(*n, 10)
	}
	return strings.Join(texts, " ")
}

// ParseCounts reads what String wrote. What is no number counts nothing.
func ParseCounts(text string) (c Counts) {
	all := c.numbers()
	for i, field := range strings.Fields(text) {
		if n, err := strconv.ParseInt(field, 10, 64); err == nil && n > 0 && i < len(all) {
			*all[i] = n
		}
	}
	return c
}

// Quantile is about the duration, in milliseconds, that a share of the attempts did not exceed; zero without attempts. Within a
// class it goes by proportion; of what is longer than all classes it is known only that it is.
func (c *Counts) Quantile(share float64) float64 {
	var all int64
	for _, n := range c.took {
		all += n
	}
	rank, below := share*float64(all), 0.0
	for i, n := range c.took {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		if i == len(statBounds) {
			return statBounds[i-1]
		}
		least := 0.0
		if i > 0 {
			least = statBounds[i-1]
		}
		return math.Round((least+(statBounds[i]-least)*(rank-below)/float64(n))*100) / 100
	}
	return 0
}

// StatPoint is what happened in one step of time.
type StatPoint struct {
	// At is the step's beginning.
	At        time.Time `json:"at"`
	Events    int64     `json:"events,omitempty" doc:"events that were taken in; of resources only"`
	Succeeded int64     `json:"succeeded" doc:"attempts"`
	Failed    int64     `json:"failed" doc:"attempts"`
	P50MS     float64   `json:"p50_ms,omitempty" doc:"about how long half of the attempts took at most"`
	P95MS     float64   `json:"p95_ms,omitempty"`
	P99MS     float64   `json:"p99_ms,omitempty"`
}

// Point makes a point of counts.
func (c *Counts) Point(at time.Time) StatPoint {
	return StatPoint{
		At: at, Events: c.Events, Succeeded: c.Succeeded, Failed: c.Failed,
		P50MS: c.Quantile(0.5), P95MS: c.Quantile(0.95), P99MS: c.Quantile(0.99),
	}
}
