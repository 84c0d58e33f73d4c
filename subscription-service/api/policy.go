package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
)

// resourcePolicy is what an admin sets for a resource, kept as it was sent.
type resourcePolicy struct {
	json.RawMessage
	policySettings
}

// policySettings are a policy's members: contract.Policy as it is sent.
type policySettings struct {
	SchemaMode       contract.SchemaMode   `json:"schema_mode,omitempty" enum:"off,warn,reject" doc:"what becomes of an event whose data breaks the schema of its type: nothing, it is counted, it is refused. off unless set"`
	CallbackHosts    []string              `json:"callback_hosts,omitempty" doc:"where callbacks may go, as hooks.example.com, or *.example.com for all below it. None: anywhere" example:"[\"*.example.com\"]"`
	CallbackSchemes  []string              `json:"callback_schemes,omitempty" enum:"https,http" doc:"the service's own rules hold on top"`
	Verification     contract.Verification `json:"verification,omitempty" enum:"none,handshake,challenge,any" doc:"how a callback_url proves that it wants callbacks, before any is sent: the handshake of CloudEvents' HTTP webhooks, a signed challenge that it sends back, or the one and, where an endpoint does not speak it, the other. none unless set"`
	MaxSubscriptions whole                 `json:"max_subscriptions,omitempty" minimum:"1" maximum:"1000000" doc:"how many subscriptions each consumer may have. None: no bound"`
	MaxPayload       whole                 `json:"max_payload,omitempty" minimum:"1" maximum:"10485760" doc:"the longest data of an event, in bytes. None: 10 MiB for the whole event"`
	Mailbox          mailboxBody           `json:"mailbox,omitzero" doc:"what waits to be collected of each subscription that pulls"`
	Log              logBody               `json:"log,omitzero" doc:"what is kept of each subscription's deliveries and of the log of their attempts"`
	RetrySchedule    []string              `json:"retry_schedule,omitempty" doc:"as in a subscription, for those that have none" example:"[\"5s\",\"2m\"]"`
	Timeouts         timeoutsBody          `json:"timeouts,omitzero" doc:"as in a subscription, for those that have none"`
}

// mailboxBody is contract.MailboxPolicy as it is sent.
type mailboxBody struct {
	MaxBytes whole   `json:"max_bytes,omitempty" minimum:"65536" maximum:"1073741824" doc:"how much may wait, about; what comes then waits at the broker. 16777216 unless set"`
	MaxAge   *string `json:"max_age,omitempty" doc:"how long a delivery waits before it is given up, 1s to 168h. 168h unless set" example:"24h"`
}

// faults checks what the schema can't say.
func (m mailboxBody) faults(at string) (errs []error) {
	if m.MaxAge == nil {
		return nil
	}
	age := readDuration(at+"mailbox.max_age", *m.MaxAge, &errs)
	if len(errs) == 0 && age == 0 {
		age = -1 // zero would count as not set
	}
	for _, f := range (contract.Policy{Mailbox: contract.MailboxPolicy{MaxAge: age}}).Check() {
		if len(errs) == 0 {
			errs = append(errs, fault(at+f.Field, f.Message))
		}
	}
	return errs
}

// logBody is contract.LogPolicy as it is sent.
type logBody struct {
	MaxAge      *string `json:"max_age,omitempty" doc:"how long, 1h to 2160h. 168h unless set" example:"24h"`
	MaxBytes    whole   `json:"max_bytes,omitempty" minimum:"65536" maximum:"1073741824" doc:"how much in all, about: half of it is for the log, and of deliveries as many are kept as it has KiB. 4194304 unless set"`
	BodyExcerpt *whole  `json:"body_excerpt,omitempty" minimum:"0" maximum:"16384" doc:"how much of each body, in bytes; 0 for none. 1024 unless set"`
}

// faults checks what the schema can't say.
func (l logBody) faults(at string) (errs []error) {
	if l.MaxAge == nil {
		return nil
	}
	age := readDuration(at+"log.max_age", *l.MaxAge, &errs)
	if len(errs) > 0 {
		return errs
	}
	for _, f := range (contract.LogPolicy{MaxAge: age}).Check() {
		errs = append(errs, fault(at+f.Field, f.Message))
	}
	return errs
}

// UnmarshalJSON keeps the text beside what it says.
func (p *resourcePolicy) UnmarshalJSON(raw []byte) error {
	p.RawMessage = append(json.RawMessage(nil), raw...)
	return json.Unmarshal(raw, &p.policySettings)
}

// MarshalJSON writes what was sent.
func (p resourcePolicy) MarshalJSON() ([]byte, error) { return p.RawMessage, nil }

// Schema describes the members.
func (resourcePolicy) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[policySettings](), true, "ResourcePolicy")
}

// raw is nil for an absent or null policy.
func (p *resourcePolicy) raw() json.RawMessage {
	if p == nil || string(p.RawMessage) == "null" {
		return nil
	}
	return p.RawMessage
}

// faults checks what the schema can't say. Members of a wrong type are empty here, and the schema has named them.
func (p *resourcePolicy) faults(at string) []error {
	if p == nil {
		return nil
	}
	_, errs := policyBody{p.RetrySchedule, p.Timeouts}.read(at)
	errs = append(append(errs, p.Log.faults(at)...), p.Mailbox.faults(at)...)
	for _, f := range (contract.Policy{CallbackHosts: p.CallbackHosts}).Check() {
		errs = append(errs, fault(at+f.Field, f.Message))
	}
	return errs
}
