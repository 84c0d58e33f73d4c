package service

import "github.com/prometheus/client_golang/prometheus"

// ObserveRedis shows what goes to Redis, as a function tells it.
func (a *App) ObserveRedis(traffic func() (commands, roundTrips uint64)) {
	a.Metrics.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "webhook_redis_commands_total", Help: "Commands sent to Redis."},
			func() float64 { n, _ := traffic(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "webhook_redis_round_trips_total", Help: "Round trips to Redis."},
			func() float64 { _, n := traffic(); return float64(n) }),
	)
}
