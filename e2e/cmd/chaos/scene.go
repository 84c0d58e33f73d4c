package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
)

// retries and callbackTimeout are the stack's settings: so many attempts that no outage of an endpoint uses them up.
var (
	retries         = "250ms,500ms,1s,1s" + strings.Repeat(",2s", 36)
	callbackTimeout = "3s"
)

// scene is a stack of its own whose services reach Redis, RabbitMQ and the gateway through proxies of ours.
type scene struct {
	world.Stack
	control world.Control
	links   map[string]link
	// viaAMQP is the broker's URL through its proxy: producers have bad connections too.
	viaAMQP   string
	endpoints *endpoints
	consumer  world.Client
	plan      plan
	ids       []string // of the subscriptions
}

// setScene needs a stack with Redis and RabbitMQ up: scripts/with-stack.sh infra. It starts the rest.
func setScene(ctx context.Context, p plan) (s *scene, err error) {
	s = &scene{plan: p, links: map[string]link{}}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.control, err = world.NewControl(); err != nil {
		return s, fmt.Errorf("%w; run it with make chaos", err)
	}
	for _, step := range []func(context.Context) error{s.openLinks, s.startServices, s.administer, s.subscribeAll} {
		if err := step(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *scene) close() {
	if s.endpoints != nil {
		_ = s.endpoints.Close()
	}
	for _, l := range s.links {
		l.cut()
	}
}

// openLinks comes before the services, which have to know the proxies' addresses. The gateway's own is not known yet.
func (s *scene) openLinks(context.Context) (err error) {
	redis, amqp := os.Getenv("REDIS_URL"), os.Getenv("AMQP_URL")
	for name, open := range map[string]func() (link, error){
		"redis":    func() (link, error) { return newLinkTo("redis", redis) },
		"rabbitmq": func() (link, error) { return newLinkTo("rabbitmq", amqp) },
		"gateway":  func() (link, error) { return newLink("gateway", "127.0.0.1:1") },
	} {
		if s.links[name], err = open(); err != nil {
			delete(s.links, name)
			return err
		}
	}
	via, err := url.Parse(amqp)
	if err != nil {
		return errors.New("AMQP_URL cannot be read")
	}
	via.Host = s.links["rabbitmq"].address()
	s.viaAMQP = via.String()
	return nil
}

func (s *scene) startServices(ctx context.Context) (err error) {
	up := s.control.With("STACK_VIA_REDIS="+s.links["redis"].address(), "STACK_VIA_AMQP="+s.links["rabbitmq"].address(),
		"STACK_VIA_GATEWAY="+s.links["gateway"].address(), "WEBHOOK_RETRY_SCHEDULE="+retries, "WEBHOOK_CALLBACK_TIMEOUT="+callbackTimeout)
	if err := up.Do(ctx, "up"); err != nil {
		return err
	}
	if s.Stack, err = world.ReadStack(os.Getenv("RUN_DIR") + "/env"); err != nil {
		return err
	}
	return s.links["gateway"].lead(strings.TrimPrefix(s.GatewayURL, "http://"))
}

func (s *scene) administer(ctx context.Context) (err error) {
	types := make([]map[string]string, len(s.plan.types))
	for i, name := range s.plan.types {
		types[i] = map[string]string{"name": name}
	}
	grants := make([]world.Grant, len(s.plan.resources))
	for i, name := range s.plan.resources {
		grants[i] = world.Grant{Resource: name, Actions: []string{"subscribe"}}
		if _, err := s.Admin().Want(ctx, http.StatusCreated, http.MethodPut, "/admin/v1/resources/"+name, map[string]any{"types": types}); err != nil {
			return err
		}
	}
	s.consumer, err = s.NewConsumer(ctx, "chaos", grants...)
	return err
}

func (s *scene) subscribeAll(ctx context.Context) (err error) {
	if s.endpoints, err = newEndpoints(ctx, s.plan.subscriptions); err != nil {
		return err
	}
	for i, sub := range s.plan.subscriptions {
		made, err := s.consumer.Want(ctx, http.StatusCreated, http.MethodPost, "/"+s.plan.resource(sub.slot)+"/subscribe", s.wish(i, sub))
		if err != nil {
			return err
		}
		s.ids = append(s.ids, made.Field("id"))
		if err := s.endpoints.trust(i, made.Field("secret")); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) wish(i int, sub subscription) map[string]any {
	kind, _, _ := strings.Cut(s.plan.kind(sub.slot), ".")
	wish := map[string]any{
		"callback_url": s.endpoints.of(i), "types": []string{fmt.Sprintf(sub.pattern, kind)}, "format": sub.format,
	}
	if sub.ordered {
		wish["ordering"] = "subject"
	}
	if sub.most > 0 {
		wish["max_in_flight"] = sub.most
	}
	return wish
}

// inFlight asks the callback service how many attempts are under way; false if it does not answer.
func (s *scene) inFlight(ctx context.Context) (int, bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := world.Metric(ctx, s.CallbackMetricsURL, "webhook_attempts_in_flight")
	return int(n), err == nil
}

// gatewayWorks says whether the gateway and its runner answer: without a key that is a 401, from the runner.
func (s *scene) gatewayWorks(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := s.Stack.Consumer("").Do(ctx, http.MethodPost, "/"+s.plan.resources[0]+"/subscribe", nil)
	return err == nil && answer.Status == http.StatusUnauthorized
}
