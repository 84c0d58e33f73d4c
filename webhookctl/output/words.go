package output

import (
	"fmt"
	"strconv"
	"time"
)

const (
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	plain  = "\x1b[0m"
)

func (p *Printer) paint(colour, text string) string {
	if !p.Colour || text == "" || colour == "" {
		return text
	}
	return colour + text + plain
}

// Good is for what is as it should be.
func (p *Printer) Good(text string) string { return p.paint(green, text) }

// Bad is for what failed.
func (p *Printer) Bad(text string) string { return p.paint(red, text) }

// Warn is for what waits or is odd.
func (p *Printer) Warn(text string) string { return p.paint(yellow, text) }

// Faint is for what matters less.
func (p *Printer) Faint(text string) string { return p.paint(faint, text) }

var moods = map[string]string{
	"active": green, "succeeded": green, "done": green, "verified": green, "closed": green,
	"failed": red, "disabled": red, "open": red,
	"pending": yellow, "paused": yellow, "running": yellow, "canceled": yellow, "half-open": yellow,
}

// Status colours the name of a state.
func (p *Printer) Status(state string) string { return p.paint(moods[state], state) }

// HTTPStatus colours an answer's status; "-" for none.
func (p *Printer) HTTPStatus(status int) string {
	switch text := strconv.Itoa(status); {
	case status == 0:
		return p.Bad("-")
	case status < 300:
		return p.Good(text)
	case status == 429 || status == 503:
		return p.Warn(text)
	default:
		return p.Bad(text)
	}
}

// Age says how long ago something was, shortly.
func (p *Printer) Age(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return Span(p.Now().Sub(at))
}

// Span is a duration in its largest unit.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "in " + Span(-d)
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// Time is a moment in local time, to the second; "" for none.
func Time(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.Local().Format("2006-01-02 15:04:05")
}

// Number is a count; "" for zero.
func Number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
