package rabbit

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestDelayStep(t *testing.T) {
	tests := []struct{ d, want time.Duration }{
		{-time.Hour, 250 * time.Millisecond},
		{0, 250 * time.Millisecond},
		{time.Millisecond, 250 * time.Millisecond},
		{250 * time.Millisecond, 250 * time.Millisecond},
		{time.Second - 1, 250 * time.Millisecond},
		{time.Second, time.Second},
		{5 * time.Second, 4 * time.Second},
		{30 * time.Second, 16 * time.Second},
		{2 * time.Minute, 64 * time.Second},
		{10 * time.Minute, 256 * time.Second},
		{time.Hour, 1024 * time.Second},
		{3 * time.Hour, 4096 * time.Second},
		{12 * time.Hour, 16384 * time.Second},
		{24 * time.Hour, 65536 * time.Second},
		{1000 * time.Hour, 65536 * time.Second},
	}
	for _, test := range tests {
		if got := DelayStep(test.d); got != test.want {
			t.Errorf("DelayStep(%v) = %v, want %v", test.d, got, test.want)
		}
	}
}

// However long the delay, the hops end, and never after the due time by more than the shortest step.
func TestDelayHops(t *testing.T) {
	for _, d := range []time.Duration{1, time.Second, 5 * time.Second, 59 * time.Second, time.Hour - 1, 65535 * time.Second, 100 * time.Hour} {
		hops := 0
		for left := d; left > 0; hops++ {
			if left -= DelayStep(left); left < -delaySteps[0] {
				t.Errorf("%v: overshot by %v", d, -left)
			}
		}
		if hops > 40 {
			t.Errorf("%v: %d hops", d, hops)
		}
	}
}

func TestNames(t *testing.T) {
	n := NamesFor("")
	if n.Events != "webhook.events" || n.Commands != "webhook.commands" || n.Dead != "webhook.dead" ||
		n.Delay(time.Second) != "webhook.delay.1000" || n.Delay(250*time.Millisecond) != "webhook.delay.250" {
		t.Errorf("%+v", n)
	}
	if NamesFor("other").Events != "other.events" {
		t.Error("namespace is ignored")
	}
}

func TestAddressesLeaveTheOriginalAlone(t *testing.T) {
	n := NamesFor("")
	now := time.Now()
	m := Message{RoutingKey: "orders.x", Headers: map[string]any{"a": "b"}}
	dead := n.ToDead(strings.Repeat("ä", maxReason), m)
	if dead.Exchange != n.Dead || dead.RoutingKey != "orders.x" || len(m.Headers) != 1 {
		t.Errorf("dead: %+v, original: %+v", dead, m)
	}
	reason := dead.Headers[HeaderReason].(string)
	if len(reason) > maxReason || !utf8.ValidString(reason) {
		t.Errorf("reason of %d bytes", len(reason))
	}
	late := n.ToDelay(now.Add(5*time.Second), now, m)
	if due, ok := late.Due(); !ok || due.UnixMilli() != now.Add(5*time.Second).UnixMilli() {
		t.Errorf("due %v", due)
	}
	if late.Exchange != "" || late.RoutingKey != n.Delay(4*time.Second) {
		t.Errorf("delay: %+v", late)
	}
	if _, ok := m.Due(); ok {
		t.Error("the original has a due time")
	}
}
