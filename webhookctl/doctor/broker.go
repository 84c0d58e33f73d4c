package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
)

// deep is how many messages may wait in a queue before that is worth a warning.
const deep = 10_000

// broker looks at RabbitMQ, its topology, who consumes, and what lies there.
func broker(ctx context.Context, p Patient, e *examination) {
	if p.AMQPURL == "" {
		e.skip("reachable", "set AMQP_URL to have RabbitMQ looked at")
		return
	}
	options := rabbit.Options{Namespace: p.Namespace, Name: "webhookctl doctor", TLS: p.AMQP}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	if p.Repair {
		e.repair(ctx, p, options)
	}
	found, err := rabbit.Inspect(ctx, p.AMQPURL, options)
	if err != nil {
		e.fault("reachable", err.Error(), "start RabbitMQ, or mend AMQP_URL: its host, port, user, password and vhost")
		return
	}
	e.fine("reachable", found.Product+" "+found.Version)
	e.version(found.Version, 3, 10)
	e.objects(found, rabbit.NamesFor(p.Namespace))
	e.alarm(found)
	e.bindings(ctx, p, found)
}

// repair declares the topology, as every service does when it starts.
func (e *examination) repair(ctx context.Context, p Patient, options rabbit.Options) {
	conn, err := rabbit.Open(ctx, p.AMQPURL, options)
	if err != nil {
		e.fault("repair", err.Error(), "see the checks below")
		return
	}
	_ = conn.Close() // nothing is under way
	e.fine("repair", "every exchange, queue and binding was declared")
}

const undeclared = "restart any of the services, each of which declares it when it starts, or run webhookctl doctor --repair"

// objects says what is missing, and of the queues what lies there and who takes it.
func (e *examination) objects(found rabbit.Inspection, names rabbit.Names) {
	there := 0
	for _, o := range found.Objects {
		switch name := o.Kind + " " + o.Name; {
		case o.Missing():
			e.fault(name, "it is not there", undeclared)
		case o.Err != nil:
			e.fault(name, o.Err.Error(), "give the broker's user of AMQP_URL the permission to read it, or look at the broker's log")
		default:
			there++
			e.queue(o, names)
		}
	}
	if there == len(found.Objects) {
		e.fine("exchanges and queues", fmt.Sprintf("all %d are there", there))
	}
}

// queue judges one that is there.
func (e *examination) queue(o rabbit.Object, names rabbit.Names) {
	if o.Kind != "queue" {
		return
	}
	consumers := map[string]string{names.Events: "event-listener", names.Replays: "event-listener", names.Commands: "callback-service", names.Bulk: "callback-service"}
	by, consumed := consumers[o.Name]
	name := "queue " + o.Name
	switch {
	case o.Name == names.Dead && o.Messages > 0:
		e.warn("dead letters", fmt.Sprint(o.Messages), "look why, and send them again: webhookctl dead-letters list")
	case o.Name == names.Dead:
		e.fine("dead letters", "none")
	case consumed && o.Consumers == 0:
		e.fault(name, fmt.Sprintf("nobody takes its messages, of which there are %d", o.Messages), "start "+by)
	case consumed && o.Messages > deep:
		e.warn(name, fmt.Sprintf("%d messages wait", o.Messages), "see whether it shrinks; else run another "+by+", or look at what it waits for")
	case consumed:
		e.fine(name, fmt.Sprintf("%d messages wait, %d consumers", o.Messages, o.Consumers))
	}
}

func (e *examination) alarm(found rabbit.Inspection) {
	switch {
	case found.Blocked != "":
		e.fault("alarms", "the broker takes no messages: "+found.Blocked, "give it memory or disk: rabbitmqctl status says what it lacks")
	case found.Unasked != nil:
		e.warn("alarms", "not known: "+found.Unasked.Error(), "give the user of AMQP_URL the permission to write to the default exchange")
	default:
		e.fine("alarms", "none: it takes messages")
	}
}

// bindings can be seen over the management plugin alone.
func (e *examination) bindings(ctx context.Context, p Patient, found rabbit.Inspection) {
	if p.ManagementURL == "" {
		e.skip("bindings", "AMQP can't tell: set RABBITMQ_MANAGEMENT_URL to http://user:password@host:15672, or declare them anew with --repair")
		return
	}
	there, err := managed(ctx, p)
	if err != nil {
		e.fault("bindings", err.Error(), "mend RABBITMQ_MANAGEMENT_URL: the plugin rabbitmq_management, its port, user and password")
		return
	}
	missing := 0
	for _, b := range found.Bindings {
		if !there[b] {
			missing++
			e.fault("binding", fmt.Sprintf("%s → %s, key %s is not there: what is published gets lost on the way", b.Exchange, b.Queue, b.Key), undeclared)
		}
	}
	if missing == 0 {
		e.fine("bindings", fmt.Sprintf("all %d are there", len(found.Bindings)))
	}
}

// managed asks the management plugin for the bindings of the vhost.
func managed(ctx context.Context, p Patient) (map[rabbit.Binding]bool, error) {
	u, err := url.Parse(p.ManagementURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("RABBITMQ_MANAGEMENT_URL is no address")
	}
	password, _ := u.User.Password()
	header := http.Header{}
	(&http.Request{Header: header}).SetBasicAuth(u.User.Username(), password)
	answer, err := p.client(u.Scheme+"://"+u.Host, header).Call(ctx, client.Request{Method: http.MethodGet, Path: "/api/bindings" + client.Path(vhost(p.AMQPURL))})
	if err != nil {
		return nil, err
	}
	var list []struct {
		Source      string `json:"source"`
		Destination string `json:"destination"`
		Key         string `json:"routing_key"`
	}
	if err := json.Unmarshal(answer.Body, &list); err != nil {
		return nil, fmt.Errorf("reading the bindings: %w", err)
	}
	there := map[rabbit.Binding]bool{}
	for _, b := range list {
		there[rabbit.Binding{Exchange: b.Source, Queue: b.Destination, Key: b.Key}] = true
	}
	return there, nil
}

// vhost is the broker's part that a URL names; "/" unless it names another.
func vhost(amqpURL string) string {
	u, err := url.Parse(amqpURL)
	if err != nil || strings.TrimPrefix(u.Path, "/") == "" {
		return "/"
	}
	return strings.TrimPrefix(u.Path, "/")
}
