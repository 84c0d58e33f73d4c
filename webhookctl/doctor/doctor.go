// Package doctor looks at every connection and fact that an installation stands on, and says for each fault what to fix.
package doctor

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
)

// State is what came of a check.
type State string

// The states.
const (
	Fine    State = "ok"
	Warning State = "warning"
	Fault   State = "fault"
	Skipped State = "skipped"
)

// Check is one thing that was looked at.
type Check struct {
	Area   string `json:"area"`
	Name   string `json:"check"`
	State  State  `json:"state"`
	Detail string `json:"detail,omitempty"`
	// Fix says what to do about a fault or a warning.
	Fix string `json:"fix,omitempty"`
}

// Patient is an installation, as far as it is known. What is empty is not looked at.
type Patient struct {
	GatewayURL, AdminURL, AdminToken string
	// Credential is a consumer's, for the gateway.
	Credential http.Header
	AMQPURL    string
	AMQP       *tlsconf.Client
	// ManagementURL is that of RabbitMQ's management plugin, with user and password.
	ManagementURL string
	RedisURL      string
	Redis         *tlsconf.Client
	// Services are the metrics URLs of the services, by name.
	Services []Service
	// Namespace is that of Redis and the broker; "" for the default.
	Namespace string
	// Environment is what is to be looked at for misspelt and weak settings.
	Environment map[string]string
	// Timeout bounds each call.
	Timeout time.Duration
	// Repair declares what the broker lacks, as the services do when they start.
	Repair bool
	Now    func() time.Time
}

// Service is one of the services and where its metrics are; Variable names the setting for that.
type Service struct{ Name, URL, Variable string }

// examination gathers the checks of one area.
type examination struct {
	area   string
	checks []Check
}

func (e *examination) add(name string, state State, detail, fix string) {
	e.checks = append(e.checks, Check{e.area, name, state, detail, fix})
}

func (e *examination) fine(name, detail string)       { e.add(name, Fine, detail, "") }
func (e *examination) fault(name, detail, fix string) { e.add(name, Fault, detail, fix) }
func (e *examination) warn(name, detail, fix string)  { e.add(name, Warning, detail, fix) }
func (e *examination) skip(name, fix string)          { e.add(name, Skipped, "", fix) }

// Examine looks at everything at once and returns the checks area by area.
func Examine(ctx context.Context, p Patient) []Check {
	areas := []struct {
		name string
		look func(context.Context, Patient, *examination)
	}{
		{"gateway", gateway}, {"admin", admin}, {"services", services}, {"redis", redis}, {"rabbitmq", broker}, {"configuration", configuration},
	}
	found := make([]examination, len(areas))
	var wg sync.WaitGroup
	for i, area := range areas {
		found[i].area = area.name
		wg.Go(func() { area.look(ctx, p, &found[i]) })
	}
	wg.Wait()
	var all []Check
	for _, e := range found {
		all = append(all, e.checks...)
	}
	return all
}

// Worst is the worst state among checks.
func Worst(checks []Check) State {
	worst := Fine
	for _, c := range checks {
		if c.State == Fault || c.State == Warning && worst == Fine {
			worst = c.State
		}
	}
	return worst
}

func (p Patient) client(base string, header http.Header) *client.Client {
	return client.New(base, header, p.Timeout)
}
