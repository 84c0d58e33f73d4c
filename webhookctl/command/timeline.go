package command

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
)

// timeline tells a delivery's story; whole says also what was sent and answered.
func (a *app) timeline(d contract.Delivery, whole bool) {
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
		if whole {
			a.exchange(attempt)
		}
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
	if t.Timings != nil {
		a.print.Say("    %s", a.print.Faint(timingsText(*t.Timings)))
	}
	if t.TraceID != "" {
		a.print.Say("    %s", a.print.Faint("trace "+output.OneLine(t.TraceID, 64)))
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

// timingsText says where the time went; a phase that did not take place is left out.
func timingsText(t contract.Timings) string {
	var parts []string
	for _, phase := range []struct {
		name string
		ms   float64
	}{{"queued", t.QueuedMS}, {"dns", t.DNSMS}, {"connect", t.ConnectMS}, {"tls", t.TLSMS}, {"first byte", t.FirstByteMS}, {"total", t.TotalMS}} {
		if phase.ms > 0 {
			parts = append(parts, fmt.Sprintf("%s %.1f ms", phase.name, phase.ms))
		}
	}
	if t.Reused {
		parts = append(parts, "over a connection that was there")
	}
	return strings.Join(parts, ", ")
}

// exchange shows what was sent and answered, as far as the log has it.
func (a *app) exchange(t contract.Attempt) {
	if r := t.Request; r != nil {
		a.print.Say("")
		a.half("> ", fmt.Sprintf("%s %s", r.Method, r.URL), r.Headers, r.Body, excerpt{r.BodyBase64, r.BodyCut})
	}
	if r := t.Response; r != nil {
		a.print.Say("")
		a.half("< ", fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status)), r.Headers, r.Body, excerpt{r.BodyBase64, r.BodyCut})
	}
}

// excerpt says how a body is shown.
type excerpt struct{ base64, cut bool }

// half is the request or the answer.
func (a *app) half(mark, first string, headers []contract.Header, body string, e excerpt) {
	lines := []string{output.OneLine(first, 2000)}
	for _, h := range headers {
		lines = append(lines, output.OneLine(h.Name+": "+h.Value, 2000))
	}
	if body != "" {
		lines = append(lines, "")
		lines = append(lines, strings.Split(output.Clean(body), "\n")...)
	}
	if e.base64 && body != "" {
		lines = append(lines, "(base64)")
	}
	if e.cut {
		lines = append(lines, "(there was more)")
	}
	for _, line := range lines {
		a.print.Say("    %s%s", a.print.Faint(mark), line)
	}
}
