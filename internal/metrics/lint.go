package metrics

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Prefix is that of every metric of ours.
const Prefix = "webhook_"

// labels are all that a metric of ours may have: each is a small vocabulary of ours, or bounded by what admins keep (resource,
// id). Never a subscription, a consumer, an event or a URL.
var labels = []string{
	"resource", "outcome", "status", "result", "reason", "queue", "kind", "route", "class", "limit", "listener", "mode", "method",
	"state", "plugin", "decision", "phase", "check", "connection", "direction", "cache", "place", "id", "current",
	"version", "revision", "go_version",
}

// units end the name of a histogram.
var units = []string{"_seconds", "_bytes", "_events"}

// Lint says what is wrong with the metrics of a registry that are ours, or carry our prefix by mistake of somebody else.
func Lint(gatherer prometheus.Gatherer) (faults []string, err error) {
	families, err := gatherer.Gather()
	if err != nil {
		return nil, fmt.Errorf("gathering: %w", err)
	}
	for _, f := range families {
		faults = append(faults, lintOne(f)...)
	}
	return faults, nil
}

func lintOne(f *dto.MetricFamily) (faults []string) {
	name := f.GetName()
	if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
		return nil
	}
	say := func(format string, args ...any) { faults = append(faults, name+": "+fmt.Sprintf(format, args...)) }
	if !strings.HasPrefix(name, Prefix) {
		say("begin its name with %s", Prefix)
	}
	if f.GetHelp() == "" || !strings.HasSuffix(f.GetHelp(), ".") {
		say("give it a help that is a sentence")
	}
	if fault := lintUnit(name, f); fault != "" {
		say("%s", fault)
	}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(labels, l.GetName()) {
				say("the label %s is not one of those that stay bounded", l.GetName())
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

func lintUnit(name string, f *dto.MetricFamily) string {
	hasUnit := slices.ContainsFunc(units, func(unit string) bool { return strings.HasSuffix(name, unit) })
	switch kind := f.GetType(); {
	case kind == dto.MetricType_COUNTER && !strings.HasSuffix(name, "_total"):
		return "a counter ends with _total"
	case kind == dto.MetricType_GAUGE && strings.HasSuffix(name, "_total"):
		return "only a counter ends with _total"
	case kind == dto.MetricType_HISTOGRAM && !hasUnit:
		return "a histogram ends with its unit, as " + strings.Join(units, ", ")
	case kind == dto.MetricType_HISTOGRAM && !native(f):
		return "make its options with metrics.Histogram, so that it is a native one, too"
	case kind == dto.MetricType_SUMMARY:
		return "make it a histogram: summaries of several replicas can't be added"
	}
	return ""
}

func native(f *dto.MetricFamily) bool {
	for _, m := range f.GetMetric() {
		if m.GetHistogram().Schema == nil {
			return false
		}
	}
	return true
}
