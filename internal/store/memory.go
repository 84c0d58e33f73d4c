package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// memoryEvery is how often Redis is asked how full it is.
const memoryEvery = 10 * time.Second

var (
	memoryUsed  = desc("webhook_redis_memory_used_bytes", "Memory that Redis uses, as it tells every ten seconds.")
	memoryLimit = desc("webhook_redis_memory_limit_bytes", "Memory that Redis may use: maxmemory, or what its machine has; beyond that it takes no writes, or is ended.")
)

// Memory shows how full Redis is; a prometheus.Collector. One process per Redis does.
type Memory struct {
	store   *Store
	last    atomic.Pointer[fullness] // nil: not known
	failing bool
}

type fullness struct{ used, limit int64 }

// NewMemory makes a Memory; Run makes it work.
func NewMemory(s *Store) *Memory { return &Memory{store: s} }

// Run asks until ctx ends. While Redis can't tell, or may not, there is no figure, and the log says so once.
func (m *Memory) Run(ctx context.Context, log *zap.Logger) error {
	ticker := time.NewTicker(memoryEvery)
	defer ticker.Stop()
	for {
		err := m.look(ctx)
		if err != nil && ctx.Err() == nil && !m.failing {
			log.Warn("it is not known how full Redis is", zap.Error(err))
		}
		m.failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (m *Memory) look(ctx context.Context) error {
	text, err := m.store.rdb.Info(ctx, "memory").Result()
	if err != nil {
		m.last.Store(nil)
		return fmt.Errorf("asking Redis how full it is: %w", err)
	}
	m.last.Store(fullnessOf(text))
	return nil
}

// fullnessOf reads INFO's lines.
func fullnessOf(info string) *fullness {
	values := map[string]int64{}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			values[name] = n
		}
	}
	f := &fullness{used: values["used_memory"], limit: values["maxmemory"]}
	if f.limit == 0 {
		f.limit = values["total_system_memory"]
	}
	return f
}

// Describe and Collect make it a prometheus.Collector.
func (m *Memory) Describe(ch chan<- *prometheus.Desc) { ch <- memoryUsed; ch <- memoryLimit }

// Collect tells what Redis said last.
func (m *Memory) Collect(ch chan<- prometheus.Metric) {
	last := m.last.Load()
	if last == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(memoryUsed, prometheus.GaugeValue, float64(last.used))
	ch <- prometheus.MustNewConstMetric(memoryLimit, prometheus.GaugeValue, float64(last.limit))
}
