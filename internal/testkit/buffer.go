package testkit

import (
	"bytes"
	"sync"
)

// Buffer collects what is written, by many at once, to be read meanwhile. A logger may write to it.
type Buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// Sync makes it a zapcore.WriteSyncer.
func (b *Buffer) Sync() error { return nil }

// String is all of it until now.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
