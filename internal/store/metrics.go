package store

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/apisix-webhooks/apisix-webhooks/internal/metrics"
)

var (
	commandsSent     = desc("webhook_redis_commands_total", "Commands sent to Redis.")
	roundTripsMade   = desc("webhook_redis_round_trips_total", "Round trips to Redis.")
	roundTripsFailed = desc("webhook_redis_errors_total", "Round trips to Redis that failed, or that it refused.")
	dialled          = desc("webhook_redis_dials_total", "Connections to Redis that were begun.")
	connectionsHeld  = desc("webhook_redis_connections", "Connections to Redis, by state: busy, idle.", "state")
	poolTimeouts     = desc("webhook_redis_pool_timeouts_total", "Calls that found no free connection to Redis in time.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func newTook() prometheus.Histogram {
	return prometheus.NewHistogram(metrics.Histogram("webhook_redis_round_trip_seconds", "Time of a round trip to Redis.", metrics.Quick))
}

// Describe and Collect make a Store a prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect tells what was exchanged with Redis. It asks Redis for nothing.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	count(commandsSent, s.exchanged.commands.Load())
	count(roundTripsMade, s.exchanged.roundTrips.Load())
	count(roundTripsFailed, s.exchanged.failed.Load())
	count(dialled, s.exchanged.dialled.Load())
	pool := s.rdb.PoolStats()
	count(poolTimeouts, uint64(pool.Timeouts))
	ch <- prometheus.MustNewConstMetric(connectionsHeld, prometheus.GaugeValue, float64(pool.IdleConns), "idle")
	ch <- prometheus.MustNewConstMetric(connectionsHeld, prometheus.GaugeValue, float64(pool.TotalConns)-float64(pool.IdleConns), "busy")
	s.exchanged.took.Collect(ch)
}
