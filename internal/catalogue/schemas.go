package catalogue

import (
	"encoding/json"
	"sync"
)

// mostSchemas bounds the compiled schemas that are kept. When they are too many all are dropped: what is in use is back at once.
const mostSchemas = 2000

// Schemas keeps compiled schemas by their text, each compiled once. The zero value is empty; it is safe for concurrent use.
type Schemas struct {
	mu       sync.RWMutex
	compiled map[string]*Schema
}

// Validate applies a schema to the data of an event. An error of either is a *Faults; those of data start with "data".
func (s *Schemas) Validate(schema json.RawMessage, data []byte) error {
	compiled, err := s.of(schema)
	if err != nil {
		return err
	}
	return compiled.Validate(data)
}

func (s *Schemas) of(text json.RawMessage) (*Schema, error) {
	s.mu.RLock()
	found := s.compiled[string(text)]
	s.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	compiled, err := Compile(text) // without the lock, so that others go on meanwhile
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compiled == nil || len(s.compiled) >= mostSchemas {
		s.compiled = map[string]*Schema{}
	}
	s.compiled[string(text)] = compiled
	return compiled, nil
}
