package contract

import "time"

// ActorKind is what sort of actor an audit entry is about.
type ActorKind string

// The kinds of actors.
const (
	ActorAdmin    ActorKind = "admin"
	ActorConsumer ActorKind = "consumer"
	ActorService  ActorKind = "service" // the project's own service, on nobody's call
	ActorUnknown  ActorKind = "unknown" // somebody who did not prove who they are
)

// Actor is who did something.
type Actor struct {
	Kind ActorKind `json:"kind" enum:"admin,consumer,service,unknown"`
	ID   string    `json:"id,omitempty" doc:"the admin token's name, the consumer's id, or the service's name"`
}

// AuditEntry says who did what to what, when, from where, and what came of it. It holds names of fields and never a value.
type AuditEntry struct {
	ID     string    `json:"id,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Actor  Actor     `json:"actor"`
	Action string    `json:"action" doc:"the operation's id in this document" example:"change-subscription"`
	Object string    `json:"object" doc:"the path of what it is about; ? stands for what is no id of ours" example:"/orders/subscribe/sub_e35tsbbwtolevy4zxsu5xteqni"`
	// From is the caller's address, as the gateway saw it or as the peer of the admin listener.
	From    string `json:"from,omitempty" doc:"the caller's address, as the gateway or the admin listener saw it"`
	Request string `json:"request_id,omitempty"`
	// Status is zero until the answer is known: then the entry was written before the change, and its end was not.
	Status int      `json:"status,omitempty" doc:"the answer's status; left out if it is not known, since the service ended in the middle of it"`
	Fields []string `json:"fields,omitempty" doc:"names of the fields that were set"`
	Reason string   `json:"reason,omitempty" doc:"why the service did it by itself"`
}

// Refused tells that nothing was changed.
func (e AuditEntry) Refused() bool { return e.Status >= 400 && e.Status < 500 }
