package contract

import "time"

// Breaker is an open circuit breaker: a replica of the callback service leaves an endpoint alone that fails.
type Breaker struct {
	Subscription string `json:"subscription_id"`
	Resource     string `json:"resource"`
	Consumer     string `json:"consumer_id"`
	// Replica is the process whose breaker it is: each has its own.
	Replica string `json:"replica" doc:"the process of the callback service whose breaker it is: each has its own"`
	// Since is when it opened, ProbeAt when a single attempt will find out whether the endpoint is back.
	Since   time.Time `json:"since" doc:"when it opened"`
	ProbeAt time.Time `json:"probe_at" doc:"when a single attempt will find out whether the endpoint answers again"`
	// Reason is why the last attempt failed, Failures how many did in a row.
	Reason   string `json:"reason" doc:"why the last attempt failed"`
	Failures int    `json:"failures" doc:"failures in a row"`
	// Parked is about how many deliveries of that replica wait at the broker for their turn.
	Parked int `json:"parked" doc:"about how many deliveries wait at the broker for their turn"`
}
