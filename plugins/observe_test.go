package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
)

// ask returns what a runner answers on its metrics' listener, "" while it does not.
func ask(address, path string) string {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return ""
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return string(body)
}

func tells(address, what string) func() bool {
	return func() bool { return strings.Contains(ask(address, "/metrics"), what) }
}

func TestAfterAReloadTheNewRunnerTellsOfItself(t *testing.T) {
	socket, egress, address := filepath.Join(shortDir(t), "a.sock"), freeAddress(t), freeAddress(t)
	env := append(goodEnvironment(socket, egress), "WEBHOOK_RUNNER_METRICS_LISTEN="+address)
	old := launch(t, env...)
	within(t, "the old one is there", tells(address, `webhook_ready{check="egress"} 1`))
	next := launch(t, env...)
	within(t, "that the new one waits", func() bool { return strings.Contains(next.String(), "the metrics wait for their port") })
	old.terminate(t)
	within(t, "the new one is there", tells(address, `webhook_ready{check="egress"} 1`))
	if body := ask(address, "/readyz"); !strings.Contains(body, `"redis":"`) || !strings.Contains(body, `"egress":"ok"`) {
		t.Errorf("/readyz says %s", body)
	}
	next.terminate(t)
}

func TestARunnerThatRefusesEveryCallSaysSo(t *testing.T) {
	socket, address := filepath.Join(shortDir(t), "a.sock"), freeAddress(t)
	r := launch(t, "APISIX_LISTEN_ADDRESS=unix:"+socket, "WEBHOOK_GATEWAY_KEY=hunter2", "WEBHOOK_RUNNER_METRICS_LISTEN="+address)
	within(t, "it says so", tells(address, `webhook_ready{check="environment"} 0`))
	if all := ask(address, "/metrics") + ask(address, "/readyz"); strings.Contains(all, "hunter2") {
		t.Error("it tells of a key")
	}
	r.terminate(t)
}

func TestWhatTheRunnerDoesIsCounted(t *testing.T) {
	p := whole(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer endpoint.Close()
	r, a := p.callback(t, endpoint.URL)
	if a != nil {
		t.Fatalf("refused: %s", a.Body)
	}
	resp, err := send(t, r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if _, a := p.callback(t, "http://10.0.0.1/"); a == nil {
		t.Fatal("that address is closed")
	}
	values := map[string]float64{}
	all, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, l := range m.GetLabel() {
				key += " " + l.GetValue()
			}
			values[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for key, want := range map[string]float64{
		"webhook_plugin_calls_total allowed webhook-callback none":            1,
		"webhook_plugin_calls_total refused webhook-callback address-refused": 1,
		"webhook_plugin_calls_total allowed webhook-subscribe none":           0,
		"webhook_plugin_seconds webhook-callback":                             2,
		"webhook_egress_calls_total response 4xx":                             1,
		"webhook_egress_seconds total":                                        1,
		"webhook_egress_seconds first_byte":                                   1,
		"webhook_egress_connections_total new":                                1,
		"webhook_egress_calls_in_flight":                                      0,
		"webhook_passes_outstanding":                                          0,
		"webhook_statements_replayed_total":                                   0,
		"webhook_statements_remembered":                                       2,
	} {
		if got, there := values[key]; !there || got != want {
			t.Errorf("%s: %v (%v), want %v", key, got, there, want)
		}
	}
	testkit.LintMetrics(t, p.registry)
	testkit.DescribedMetrics(t, p.registry, "runner")
	if err := p.drain(); err != nil {
		t.Fatal(err)
	}
}
