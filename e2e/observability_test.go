package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

const observability = "../deploy/observability"

// listed are the metrics of all processes with their labels, as each process's own test keeps them.
func listed(t *testing.T) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(observability + "/metrics/*.txt")
	require.NoError(t, err)
	require.Len(t, files, 4)
	all := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			name, rest, _ := strings.Cut(line, "{")
			labels, _, _ := strings.Cut(rest, "}")
			all[name] = append(all[name], strings.Split(labels, ",")...)
		}
	}
	return all
}

// expression is a query and where it stands.
type expression struct{ place, query string }

type panel struct {
	ID      int
	Title   string
	Type    string
	Targets []struct{ Expr string }
	Panels  []panel
}

type dashboard struct {
	UID, Title string
	Panels     []panel
	Templating struct {
		List []struct {
			Name, Type, Definition string
		}
	}
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(observability + "/grafana/dashboards/*.json")
	require.NoError(t, err)
	require.Len(t, files, 4)
	all := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d), file)
		all[filepath.Base(file)] = d
	}
	return all
}

type rule struct {
	Alert, Record, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	files, err := filepath.Glob(observability + "/prometheus/rules/*.yml")
	require.NoError(t, err)
	for _, file := range files {
		var groups struct{ Groups []struct{ Rules []rule } }
		readYAML(t, file, &groups)
		for _, g := range groups.Groups {
			all = append(all, g.Rules...)
		}
	}
	require.NotEmpty(t, all)
	return all
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, into), file)
}

func expressions(t *testing.T) (all []expression) {
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				all = append(all, expression{name + ": " + p.Title, target.Expr})
			}
		}
	}
	for _, r := range rules(t) {
		all = append(all, expression{r.Alert + r.Record, r.Expr})
	}
	return all
}

var (
	metricName = regexp.MustCompile(`webhook[_:][a-zA-Z0-9_:]+(\{[^}]*\})?`)
	selector   = regexp.MustCompile(`([a-zA-Z_]+)\s*(?:=~|!~|!=|=)`)
	parts      = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// ofScrape are labels that a metric has of its scrape, or a histogram of its buckets.
var ofScrape = []string{"job", "instance", "le"}

func TestEveryMetricOfADashboardOrARuleExistsWithItsLabels(t *testing.T) {
	known := listed(t)
	recorded := map[string]bool{}
	for _, r := range rules(t) {
		recorded[r.Record] = true
	}
	used := 0
	for _, e := range expressions(t) {
		for _, found := range metricName.FindAllString(e.query, -1) {
			name, labels, _ := strings.Cut(found, "{")
			if recorded[name] {
				continue
			}
			used++
			has, exists := known[name]
			if !exists {
				has, exists = known[parts.ReplaceAllString(name, "")]
			}
			require.True(t, exists, "%s: there is no metric %s", e.place, name)
			for _, label := range selector.FindAllStringSubmatch(labels, -1) {
				require.True(t, slices.Contains(has, label[1]) || slices.Contains(ofScrape, label[1]), "%s: %s has no label %s", e.place, name, label[1])
			}
		}
	}
	require.Greater(t, used, 150)
}

func TestDashboardsAreWhole(t *testing.T) {
	uids := map[string]string{}
	for name, d := range dashboards(t) {
		require.NotEmpty(t, d.Title, name)
		require.Empty(t, uids[d.UID], "%s has the uid of another one", name)
		uids[d.UID] = name
		require.NotEmpty(t, d.Templating.List, name)
		require.Equal(t, [2]string{"datasource", "datasource"}, [2]string{d.Templating.List[0].Name, d.Templating.List[0].Type}, name)
		ids := map[int]bool{}
		for _, p := range d.Panels {
			require.False(t, ids[p.ID], "%s: two panels have the id %d", name, p.ID)
			ids[p.ID] = true
			require.True(t, p.Type == "row" || len(p.Targets) > 0, "%s: %s shows nothing", name, p.Title)
		}
		text, err := os.ReadFile(filepath.Join(observability, "grafana/dashboards", name))
		require.NoError(t, err)
		for _, of := range regexp.MustCompile(`"uid": "([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
			require.True(t, of[1] == "${datasource}" || of[1] == d.UID, "%s: a data source by name, %s", name, of[1])
		}
	}
}

func TestEveryAlertHasItsTextsItsSectionAndItsTests(t *testing.T) {
	runbook, err := os.ReadFile("../docs/runbook.md")
	require.NoError(t, err)
	var tests struct {
		Tests []struct {
			Alerts []struct {
				Name     string           `yaml:"alertname"`
				Expected []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, observability+"/prometheus/tests/alerts_test.yml", &tests)
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, one := range tests.Tests {
		for _, a := range one.Alerts {
			fires[a.Name], rests[a.Name] = fires[a.Name] || len(a.Expected) > 0, rests[a.Name] || len(a.Expected) == 0
		}
	}
	alerts := 0
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		alerts++
		require.Contains(t, []string{"critical", "warning", "info"}, r.Labels["severity"], r.Alert)
		require.NotEmpty(t, r.Annotations["summary"], r.Alert)
		require.NotEmpty(t, r.Annotations["description"], r.Alert)
		require.True(t, strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbook.md#"+strings.ToLower(r.Alert)), r.Alert)
		require.Contains(t, string(runbook), "\n### "+r.Alert+"\n", "its section")
		require.True(t, fires[r.Alert], "%s: no test has it fire", r.Alert)
		require.True(t, rests[r.Alert], "%s: no test has it not fire", r.Alert)
	}
	require.Greater(t, alerts, 40)
}

// promtool reads what the dashboards ask, as rules of a file.
func TestPrometheusCanReadWhatTheDashboardsAsk(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if tool, err = filepath.Abs("../bin/promtool"); err == nil {
			_, err = os.Stat(tool)
		}
	}
	if err != nil {
		t.Skip("promtool is not here: scripts/rules.sh unpacks one")
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$resource", ".*")
	var file strings.Builder
	file.WriteString("groups:\n- name: dashboards\n  rules:\n")
	for i, e := range expressions(t) {
		query, err := json.Marshal(variables.Replace(e.query))
		require.NoError(t, err)
		fmt.Fprintf(&file, "  - record: d%d\n    expr: %s\n", i, query)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(path, []byte(file.String()), 0o600))
	out, err := exec.CommandContext(ctx(t), tool, "check", "rules", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// What a running stack tells after some traffic is what is listed, and what is asked of histograms is one.
func TestARunningStackTellsWhatIsListed(t *testing.T) {
	s := setScene(t)
	require.NotEmpty(t, s.RunnerMetricsURL, "RUNNER_METRICS_URL")
	r := receiver(t, nil)
	s.subscribe(t, r.URL, nil)
	s.publish(t, "m1", "m2")
	eventually(t, "the runner counts the calls to the endpoint", func() bool {
		n, err := world.Metric(ctx(t), s.RunnerMetricsURL, "webhook_egress_calls_total")
		return err == nil && n >= 2
	})
	known, told := listed(t), map[string]string{}
	for _, url := range []string{s.RunnerMetricsURL, s.CallbackMetricsURL, s.ListenerMetricsURL, s.SubscriptionMetricsURL} {
		answer, err := world.Client{Base: url}.Want(ctx(t), 200, "GET", "", nil)
		require.NoError(t, err)
		for line := range strings.Lines(string(answer.Body)) {
			if rest, ok := strings.CutPrefix(line, "# TYPE webhook_"); ok {
				name, kind, _ := strings.Cut(strings.TrimSpace(rest), " ")
				told["webhook_"+name] = kind
				require.Contains(t, known, "webhook_"+name, "%s tells what is not listed", url)
			}
		}
		require.NotContains(t, string(answer.Body), r.URL, "no URL is a label")
	}
	require.Greater(t, len(told), 70)
	for _, e := range expressions(t) {
		for _, found := range metricName.FindAllString(e.query, -1) {
			name, _, _ := strings.Cut(found, "{")
			base := parts.ReplaceAllString(name, "")
			if kind, is := told[base]; is && base != name {
				require.Equal(t, "histogram", kind, "%s: %s", e.place, name)
			} else if kind, is := told[name]; is {
				require.NotEqual(t, "histogram", kind, "%s: %s needs _bucket, _sum or _count", e.place, name)
			}
		}
	}
}
