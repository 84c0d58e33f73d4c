package client

import (
	"encoding/json"
	"time"
)

// Resource is a resource as the API shows it.
type Resource struct {
	Name   string          `json:"name"`
	Types  []EventType     `json:"types"`
	Policy json.RawMessage `json:"policy,omitempty"`
}

// EventType is one type of event.
type EventType struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema,omitempty"`
}

// Key is an API key; Key itself is there only once.
type Key struct {
	ID        string    `json:"id"`
	Key       string    `json:"key,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}
