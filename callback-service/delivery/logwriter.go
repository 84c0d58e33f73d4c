package delivery

import (
	"context"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/batch"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

const (
	// mostUnlogged and mostUnloggedBytes bound the attempts that wait to be logged.
	mostUnlogged      = 8192
	mostUnloggedBytes = 32 << 20
	// mostLogged is how many share a round trip.
	mostLogged = 1024
	// logPace is how far apart batches are kept at most.
	logPace = 500 * time.Millisecond
	// logTries is how often a batch is written before it is lost.
	logTries = 3
	// lastLog bounds what is still logged when the service ends.
	lastLog = time.Second
)

// logWriter writes the log of attempts. It is beside the deliveries and never in their way: what it can't take it drops and
// counts.
type logWriter struct {
	engine *Engine
	queue  chan *logEntry
	bytes  atomic.Int64
	soon   chan struct{} // the queue fills up
	pace   batch.Pacer
}

func newLogWriter(e *Engine) *logWriter {
	return &logWriter{engine: e, queue: make(chan *logEntry, mostUnlogged), soon: make(chan struct{}, 1), pace: batch.Pacer{Most: logPace}}
}

// add never waits.
func (w *logWriter) add(l *logEntry) {
	if w.bytes.Add(l.size()) > mostUnloggedBytes {
		w.drop(l)
		return
	}
	select {
	case w.queue <- l:
	default:
		w.drop(l)
		return
	}
	if len(w.queue) >= mostLogged {
		select {
		case w.soon <- struct{}{}:
		default: // is known
		}
	}
}

func (w *logWriter) drop(lost ...*logEntry) {
	for _, l := range lost {
		w.bytes.Add(-l.size())
	}
	w.engine.Metrics.unlogged.Add(float64(len(lost)))
}

// run writes until the queue is closed and empty. Once stop ends it has a moment.
func (w *logWriter) run(stop context.Context) {
	last, cancel := context.WithCancel(context.WithoutCancel(stop))
	defer cancel()
	defer context.AfterFunc(stop, func() { time.AfterFunc(lastLog, cancel) })()
	for first := range w.queue {
		if len(w.queue) < mostLogged {
			w.pace.Wait(stop.Done(), w.soon)
		}
		batch := w.gather(first)
		w.pace.Taken(len(batch))
		w.write(stop, last, batch)
	}
}

func (w *logWriter) gather(first *logEntry) []*logEntry {
	batch := []*logEntry{first}
	for len(batch) < mostLogged {
		select {
		case l, open := <-w.queue:
			if !open {
				return batch
			}
			batch = append(batch, l)
		default:
			return batch
		}
	}
	return batch
}

// write logs a batch, or gives it up: others come, and none is worth a delivery's memory.
func (w *logWriter) write(stop, last context.Context, batch []*logEntry) {
	entries := make([]store.AttemptLog, len(batch))
	for i, l := range batch {
		entries[i] = l.entry()
	}
	for n := 1; ; n++ {
		err := w.engine.Store.LogAttempts(last, entries)
		if err == nil {
			break
		}
		if n == logTries || stop.Err() != nil {
			w.engine.Log.Warn("attempts are missing in the log", zap.Int("count", len(batch)), zap.Error(err))
			w.drop(batch...)
			return
		}
		service.Backoff(stop, n)
	}
	for _, l := range batch {
		w.bytes.Add(-l.size())
	}
}
