package client

import "time"

// Key is an API key; Key itself is there only once.
type Key struct {
	ID        string    `json:"id"`
	Key       string    `json:"key,omitempty"`
	CreatedAt time.Time `json:"created_at"`
}
