package portal

import (
	"net/url"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// stats are success and latency over time.
type stats struct {
	Step   string      `json:"step"`
	Points []statPoint `json:"points"`
}

// statPoint is one step of them.
type statPoint struct{ contract.StatPoint }

// Published is how many events there were.
func (s stats) Published() (n int64) {
	for _, p := range s.Points {
		n += p.Events
	}
	return n
}

// Any tells whether there was an attempt at all.
func (s stats) Any() bool {
	for _, p := range s.Points {
		if p.Succeeded+p.Failed > 0 {
			return true
		}
	}
	return false
}

// Rate is the share of attempts that succeeded, in percent; empty where there was none.
func (p statPoint) Rate() string {
	all := p.Succeeded + p.Failed
	if all == 0 {
		return ""
	}
	return plain(100 * float64(p.Succeeded) / float64(all))
}

// statRange is a time to look back, and the step that suits it.
type statRange struct {
	Name, Step string
	Back       time.Duration
}

// statRanges are those that a page offers; the first unless another is asked for.
var statRanges = []statRange{{"24 hours", "30m", 24 * time.Hour}, {"1 hour", "5m", time.Hour}, {"7 days", "3h", 7 * 24 * time.Hour}}

// statsPage is the picture on a page.
type statsPage struct {
	stats

	Range  statRange
	Ranges []statRange
}

// stats reads those of the API's path for the range that is asked for; an admin's may be of one resource.
func (v *visit) stats(path, resource string) (*statsPage, error) {
	data := &statsPage{Range: statRanges[0], Ranges: statRanges}
	for _, r := range statRanges {
		if r.Name == v.r.URL.Query().Get("range") {
			data.Range = r
		}
	}
	query := url.Values{"since": {v.Now().UTC().Add(-data.Range.Back).Format(time.RFC3339)}, "step": {data.Range.Step}}
	if resource != "" {
		query.Set("resource", resource)
	}
	return data, v.api.get(v.r.Context(), path, query, &data.stats)
}
