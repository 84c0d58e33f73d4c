package service

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Health answers the two questions apart: does the process live, and can it work.
type Health struct {
	mu       sync.Mutex
	checks   map[string]func(context.Context) error
	stopping atomic.Bool
}

// Check adds a dependency that must answer for the process to be ready.
func (h *Health) Check(name string, check func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]func(context.Context) error{}
	}
	h.checks[name] = check
}

var readiness = prometheus.NewDesc("webhook_ready", "1 if the process has what it needs, by check: what /readyz tells.", []string{"check"}, nil)

// askWithin bounds the time for all checks.
const askWithin = 2 * time.Second

// Describe and Collect make a Health a prometheus.Collector.
func (h *Health) Describe(ch chan<- *prometheus.Desc) { ch <- readiness }

// Collect asks every dependency.
func (h *Health) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	for check, answer := range h.answers(ctx) {
		value := 0.0
		if answer == well {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(readiness, prometheus.GaugeValue, value, check)
	}
}

// Handler serves /healthz, /readyz and /metrics. For everything else see the mux that it is mounted on.
func (a *App) Handler() *http.ServeMux { return HandlerOf(a.Health, a.Metrics) }

// HandlerOf is App.Handler for a process that has no App.
func HandlerOf(health *Health, registry prometheus.Gatherer) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", health.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// ready asks every dependency at once, for at most two seconds.
func (h *Health) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askWithin)
	defer cancel()
	status, answers := http.StatusOK, h.answers(ctx)
	for _, answer := range answers {
		if answer != well {
			status = http.StatusServiceUnavailable
		}
	}
	writeJSON(w, status, answers)
}

// well is what is said of a check that is passed.
const well = "ok"

func (h *Health) answers(ctx context.Context) map[string]string {
	answers := h.ask(ctx)
	if h.stopping.Load() {
		answers["process"] = "is stopping"
	}
	return answers
}

func (h *Health) ask(ctx context.Context) map[string]string {
	h.mu.Lock()
	checks := maps.Clone(h.checks) // a slow dependency must not hold up who asks next
	h.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]string{"process": well}
	for name, check := range checks {
		wg.Go(func() {
			answer := well
			if err := check(ctx); err != nil {
				answer = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			answers[name] = answer
		})
	}
	wg.Wait()
	return answers
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client hung up: nobody left to tell
}
