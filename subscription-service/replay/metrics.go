package replay

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// Metrics of the replays.
type Metrics struct {
	ended    *prometheus.CounterVec
	commands prometheus.Counter
	scanned  prometheus.Counter
	running  prometheus.Gauge
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "webhook_replays_ended_total", Help: "Replays that ended, by state: done, canceled.",
		}, []string{"state"}),
		commands: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_replay_commands_published_total", Help: "Callback commands of replays that the broker has confirmed.",
		}),
		scanned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "webhook_replay_events_scanned_total", Help: "Events of the archive that replays have looked at.",
		}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "webhook_replays_running", Help: "Replays that this process works at now."}),
	}
	for _, state := range []contract.ReplayState{contract.ReplayDone, contract.ReplayCanceled} {
		m.ended.WithLabelValues(string(state)) // there from the start, as zero
	}
	registry.MustRegister(m.ended, m.commands, m.scanned, m.running)
	return m
}
