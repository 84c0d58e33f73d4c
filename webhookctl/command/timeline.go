package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

// timeline tells a delivery's story.
func (a *app) timeline(d contract.Delivery) {
	status := a.print.Status(string(d.Status))
	if d.Reason != "" {
		status += "  " + output.Clean(d.Reason)
	}
	a.print.Fields(
		output.Field{Name: "delivery", Value: d.ID}, output.Field{Name: "event", Value: output.OneLine(d.EventID+" of "+d.EventSource, 200)},
		output.Field{Name: "type", Value: output.OneLine(d.EventType, 150)}, output.Field{Name: "status", Value: status},
		output.Field{Name: "created", Value: output.Time(d.CreatedAt)}, output.Field{Name: "next attempt", Value: a.when(d.NextAttempt)},
	)
	for _, attempt := range d.Attempts {
		a.print.Say("")
		a.attempt(attempt)
	}
	if len(d.Attempts) < d.AttemptCount {
		a.print.Say("\n%s", a.print.Faint(fmt.Sprintf("of %d attempts the last %d are kept", d.AttemptCount, len(d.Attempts))))
	}
}

// when is a moment with how far it is away.
func (a *app) when(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return output.Time(at) + " (" + output.Span(a.Now().Sub(at)) + ")"
}

func (a *app) attempt(t contract.Attempt) {
	a.print.Say("#%d  %s  %s  %s  %d ms", t.Number, output.Time(t.At), a.print.HTTPStatus(t.Status), a.outcome(t), t.DurationMS)
	if t.Error != "" {
		a.print.Say("    %s", output.OneLine(t.Error, 300))
	}
}

// outcome is the egress's word, with the detail where there is one.
func (a *app) outcome(t contract.Attempt) string {
	text := strings.TrimSuffix(string(t.Outcome)+": "+string(t.Detail), ": ")
	if t.Status >= 200 && t.Status < 300 {
		return a.print.Good(text)
	}
	return a.print.Bad(text)
}
