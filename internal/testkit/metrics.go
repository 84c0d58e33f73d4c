package testkit

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

// LintMetrics holds what a process tells against the rules of the house and against Prometheus's own.
func LintMetrics(t testing.TB, gatherer prometheus.Gatherer) {
	t.Helper()
	faults, err := metrics.Lint(gatherer)
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
	problems, err := testutil.GatherAndLint(gatherer)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, metrics.Prefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
