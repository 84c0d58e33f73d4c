package contract

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Milliseconds is a duration as Timings have it: to the microsecond.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// The names of the phases on the wire.
const (
	phaseDNS, phaseConnect, phaseTLS = "dns", "connect", "tls"
	phaseFirstByte, phaseTotal       = "first", "total"
	phaseReused                      = "reused"
)

// Encode writes what the egress measured as the value of HeaderTimings, in the syntax of Server-Timing: "dns;dur=1.5, total;dur=20".
// QueuedMS is not the egress's and left out.
func (t Timings) Encode() string {
	b := make([]byte, 0, 96)
	for _, phase := range []struct {
		name string
		ms   float64
	}{{phaseDNS, t.DNSMS}, {phaseConnect, t.ConnectMS}, {phaseTLS, t.TLSMS}, {phaseFirstByte, t.FirstByteMS}, {phaseTotal, t.TotalMS}} {
		if phase.ms > 0 {
			b = append(append(append(b, phase.name...), ";dur="...), strconv.FormatFloat(phase.ms, 'f', -1, 64)...)
			b = append(b, ", "...)
		}
	}
	if t.Reused {
		b = append(b, phaseReused...)
	}
	return strings.TrimSuffix(string(b), ", ")
}

// ParseTimings reads what Encode wrote; what it does not know, or can't be a duration, it leaves out.
func ParseTimings(value string) (t Timings) {
	for entry := range strings.SplitSeq(value, ",") {
		name, text, _ := strings.Cut(strings.TrimSpace(entry), ";dur=")
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ms >= 0) || math.IsInf(ms, 0) {
			ms = 0
		}
		switch name {
		case phaseDNS:
			t.DNSMS = ms
		case phaseConnect:
			t.ConnectMS = ms
		case phaseTLS:
			t.TLSMS = ms
		case phaseFirstByte:
			t.FirstByteMS = ms
		case phaseTotal:
			t.TotalMS = ms
		case phaseReused:
			t.Reused = true
		}
	}
	return t
}
