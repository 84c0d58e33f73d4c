package client

import (
	"encoding/json"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
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

// Subscription is a subscription as its consumer sees it.
type Subscription struct {
	ID            string            `json:"id"`
	Resource      string            `json:"resource"`
	Mode          string            `json:"mode,omitempty"`
	Status        contract.Status   `json:"status"`
	StatusReason  string            `json:"status_reason,omitempty"`
	Verification  *Verification     `json:"verification,omitempty"`
	CallbackURL   string            `json:"callback_url,omitempty"`
	Types         []string          `json:"types,omitempty"`
	Filter        string            `json:"filter,omitempty"`
	Transform     string            `json:"transform,omitempty"`
	Format        string            `json:"format"`
	Headers       map[string]string `json:"headers,omitempty"`
	Auth          json.RawMessage   `json:"auth,omitempty"`
	RateLimit     float64           `json:"rate_limit,omitempty"`
	MaxInFlight   int               `json:"max_in_flight"`
	Ordering      string            `json:"ordering"`
	RetrySchedule []string          `json:"retry_schedule,omitzero"`
	Timeouts      map[string]string `json:"timeouts,omitempty"`
	Description   string            `json:"description,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
	Signatures    []string          `json:"signatures,omitempty"`
	PublicKeys    []string          `json:"public_keys,omitempty"`
	Secret        string            `json:"secret,omitempty"`
}

// Verification is how far it is proven that an endpoint wants callbacks.
type Verification struct {
	Method      string    `json:"method"`
	State       string    `json:"state"`
	Attempts    int       `json:"attempts"`
	LastError   string    `json:"last_error,omitempty"`
	NextAttempt time.Time `json:"next_attempt_at,omitzero"`
	AllowedRate int       `json:"allowed_rate,omitempty"`
}
