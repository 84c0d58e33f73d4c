package contract

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var resourceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// reserved are the first path segments that the routes themselves need, now or by the contract later.
var reserved = []string{"admin", "apisix", "docs", "gateway", "healthz", "metrics", "openapi", "portal", "readyz", "static"}

// Actions that a grant can allow on a resource.
const (
	ActionSubscribe = "subscribe"
	ActionPublish   = "publish"
)

// ActionPublic is no grant: it is what the gateway vouches for where anybody may call, see IsPublic.
const ActionPublic = "public"

// ActionPortal is no grant either: every consumer may ask for a link to the portal, where its grants hold.
const ActionPortal = "portal"

// Resource is what events are about and consumers subscribe to, e.g. "orders".
type Resource struct {
	Name  string      `json:"name"`
	Types []EventType `json:"types,omitempty"`
	// Policy is kept as the admin sent it. FullPolicy and DeliveryPolicy read it.
	Policy json.RawMessage `json:"policy,omitempty"`
}

// EventType is one type of event that a resource's producers publish.
type EventType struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Schema is the JSON Schema of the data (draft 2020-12), kept as the admin sent it.
	Schema json.RawMessage `json:"schema,omitempty"`
}

// ValidateResource refuses what is not a resource name: [a-z][a-z0-9-]{0,62} and none of the reserved names.
func ValidateResource(name string) error {
	if !resourceName.MatchString(name) {
		return fmt.Errorf("resource %q: use a lower-case letter, then up to 62 letters, digits or hyphens", Printable(name))
	}
	if slices.Contains(reserved, name) {
		return fmt.Errorf("resource %q is reserved: choose another name", name)
	}
	return nil
}

// Consumer is somebody who calls the API: a subscriber, a producer over HTTP, or both.
type Consumer struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Grants []Grant `json:"grants"`
	Limits Limits  `json:"limits,omitzero"`
}

// Limits bound what one consumer may use, over all replicas. A zero field leaves it to the service's default.
type Limits struct {
	// RequestsPerSecond counts calls other than those that publish; EventsPerSecond counts published events, over HTTP.
	RequestsPerSecond int `json:"requests_per_second,omitempty"`
	EventsPerSecond   int `json:"events_per_second,omitempty"`
	// MaxSubscriptions counts those to all resources.
	MaxSubscriptions int `json:"max_subscriptions,omitempty"`
}

// Grant allows actions on one resource.
type Grant struct {
	Resource string   `json:"resource"`
	Actions  []string `json:"actions"`
}

// ActionsOn returns what the consumer may do with the resource; empty means nothing.
func (c Consumer) ActionsOn(resource string) []string {
	var actions []string
	for _, g := range c.Grants {
		if g.Resource == resource {
			actions = append(actions, g.Actions...)
		}
	}
	return actions
}

// Printable shortens foreign text and drops control characters, so that it can stand in an error or a log line.
func Printable(s string) string { return PrintableTo(s, 100) }

// PrintableTo is Printable with a length of its own, in bytes.
func PrintableTo(s string, most int) string {
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
