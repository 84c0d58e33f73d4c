package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Kept has made metrics by their labels, so that an event costs neither a lock nor a hash of all its labels. It is safe for
// concurrent use.
type Kept[K comparable, M any] struct {
	make func(K) M

	made atomic.Pointer[map[K]M]
	mu   sync.Mutex // one makes at a time
}

// Keep makes a Kept. K must be bounded: nothing is ever forgotten.
func Keep[K comparable, M any](how func(K) M) *Kept[K, M] {
	k := &Kept[K, M]{make: how}
	k.made.Store(&map[K]M{})
	return k
}

// Of returns the metric with the labels of key.
func (k *Kept[K, M]) Of(key K) M {
	if m, ok := (*k.made.Load())[key]; ok {
		return m
	}
	return k.add(key)
}

func (k *Kept[K, M]) add(key K) M {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := *k.made.Load()
	if m, ok := before[key]; ok {
		return m
	}
	after := maps.Clone(before)
	after[key] = k.make(key)
	k.made.Store(&after)
	return after[key]
}
