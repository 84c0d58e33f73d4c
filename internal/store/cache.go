package store

import (
	"sync"
	"time"
)

// mostCached bounds the caches of this package. One that is full is emptied: what is in use is back at once.
const mostCached = 10_000

// parsed keeps what texts meant, so that a record is parsed again only after it changed. The zero value is empty.
type parsed[T any] struct {
	mu      sync.Mutex
	entries map[string]meaning[T]
}

type meaning[T any] struct {
	text  string
	value T
}

// of returns what the text under a name means. What can't be parsed is not kept.
func (p *parsed[T]) of(name, text string, parse func(text string) (T, error)) (T, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, ok := p.entries[name]; ok && found.text == text {
		return found.value, nil
	}
	value, err := parse(text)
	if err == nil {
		p.entries = roomIn(p.entries)
		p.entries[name] = meaning[T]{text, value}
	}
	return value, err
}

// When a list of deliveries is tended to: its end is put off, and what is too many is removed. Doing it with each delivery
// would double the work.
const (
	tendAfter   = time.Hour
	tendEachNth = 64
)

// tended knows when this process last tended to which list. The zero value knows nothing.
type tended struct {
	mu      sync.Mutex
	entries map[string]tending
}

type tending struct {
	at    time.Time
	since int
}

// due reports whether a list that gets n deliveries must be tended to with them.
func (t *tended) due(list string, n int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.entries[list]
	return !known || now.Sub(last.at) >= tendAfter || last.since+n >= tendEachNth
}

// got counts n deliveries that a list got.
func (t *tended) got(list string, n int, now time.Time, tendedTo bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.entries[list]
	last.since += n
	if tendedTo {
		last = tending{at: now}
	}
	t.entries = roomIn(t.entries)
	t.entries[list] = last
}

func roomIn[T any](entries map[string]T) map[string]T {
	if entries == nil || len(entries) >= mostCached {
		return map[string]T{}
	}
	return entries
}
