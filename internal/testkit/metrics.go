package testkit

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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

// metricsFolder is below the project's folder; it has the metrics of each process.
const metricsFolder = "deploy/observability/metrics"

// UpdateMetrics is the variable that lets DescribedMetrics write its files anew.
const UpdateMetrics = "UPDATE_METRICS"

// DescribedMetrics holds all that a process can tell against the list of its metrics, by which dashboards, rules and documents go.
func DescribedMetrics(t testing.TB, registry *prometheus.Registry, process string) {
	t.Helper()
	file := filepath.Join(projectFolder(t), metricsFolder, process+".txt")
	now := strings.Join(describe(registry), "\n") + "\n"
	if os.Getenv(UpdateMetrics) != "" {
		if err := os.WriteFile(file, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if listed, err := os.ReadFile(file); err != nil || string(listed) != now {
		t.Errorf("%s is not what the process tells: run this test with %s=1, and see to dashboards and rules (%v)", file, UpdateMetrics, err)
	}
}

var descForm = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*").*variableLabels: \{([^}]*)\}\}$`)

// describe returns a line for each metric of ours, also of those that count nothing yet: name, labels, help.
func describe(registry *prometheus.Registry) (lines []string) {
	all := make(chan *prometheus.Desc)
	go func() { registry.Describe(all); close(all) }()
	for desc := range all {
		part := descForm.FindStringSubmatch(desc.String())
		if part == nil {
			continue // the registry of a test may have other forms; none of ours has
		}
		name, _ := strconv.Unquote(part[1])
		help, _ := strconv.Unquote(part[2])
		if strings.HasPrefix(name, metrics.Prefix) {
			lines = append(lines, fmt.Sprintf("%s{%s} %s", name, part[3], help))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// projectFolder is where go.work is.
func projectFolder(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	for ; err == nil && folder != filepath.Dir(folder); folder = filepath.Dir(folder) {
		if _, missing := os.Stat(filepath.Join(folder, "go.work")); missing == nil {
			return folder
		}
	}
	t.Fatal("there is no go.work above this test")
	return ""
}
