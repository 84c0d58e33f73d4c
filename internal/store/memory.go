package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// memoryEvery is how often Redis is asked how full it is.
const memoryEvery = 10 * time.Second

var (
	memoryUsed  = desc("webhook_redis_memory_used_bytes", "Memory that Redis uses, as it tells every ten seconds.")
	boxesKept   = desc("webhook_mailboxes", "Subscriptions in pull mode for which deliveries wait.")
	lettersKept = desc("webhook_mailbox_messages", "Deliveries that wait to be collected, in the first thousand mailboxes.")
	memoryLimit = desc("webhook_redis_memory_limit_bytes", "Memory that Redis may use: maxmemory, or what its machine has; beyond that it takes no writes, or is ended.")
)

// Memory shows how full Redis is, and how much waits in mailboxes; a prometheus.Collector. One process per Redis does.
type Memory struct {
	store   *Store
	last    atomic.Pointer[fullness] // nil: not known
	failing bool
}

type fullness struct{ used, limit, mailboxes, letters int64 }

// mostMailboxes bounds how many mailboxes are looked into, so that the letters are at least so many.
const mostMailboxes = 1000

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
	f := fullnessOf(text)
	if f.mailboxes, f.letters, err = m.store.mail(ctx); err != nil {
		m.last.Store(nil)
		return fmt.Errorf("counting what waits in mailboxes: %w", err)
	}
	m.last.Store(f)
	return nil
}

// mail counts the mailboxes with letters, and the letters in those that are looked into.
func (s *Store) mail(ctx context.Context) (mailboxes, letters int64, err error) {
	list := s.rdb.Pipeline()
	count, some := list.ZCard(ctx, s.key.mailboxes()), list.ZRange(ctx, s.key.mailboxes(), 0, mostMailboxes-1)
	if _, err = list.Exec(ctx); err != nil || count.Val() == 0 {
		return 0, 0, err
	}
	pipe := s.rdb.Pipeline()
	sizes := make([]*redis.IntCmd, len(some.Val()))
	for i, sub := range some.Val() {
		sizes[i] = pipe.ZCard(ctx, s.key.mailbox(sub))
	}
	_, err = pipe.Exec(ctx)
	for _, size := range sizes {
		letters += size.Val()
	}
	return count.Val(), letters, err
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
func (m *Memory) Describe(ch chan<- *prometheus.Desc) {
	ch <- memoryUsed
	ch <- memoryLimit
	ch <- boxesKept
	ch <- lettersKept
}

// Collect tells what Redis said last.
func (m *Memory) Collect(ch chan<- prometheus.Metric) {
	last := m.last.Load()
	if last == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(memoryUsed, prometheus.GaugeValue, float64(last.used))
	ch <- prometheus.MustNewConstMetric(memoryLimit, prometheus.GaugeValue, float64(last.limit))
	ch <- prometheus.MustNewConstMetric(boxesKept, prometheus.GaugeValue, float64(last.mailboxes))
	ch <- prometheus.MustNewConstMetric(lettersKept, prometheus.GaugeValue, float64(last.letters))
}
