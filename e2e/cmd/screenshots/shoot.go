package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/e2e/browser"
	"github.com/apisix-webhooks/apisix-webhooks/e2e/world"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

// shoot is what there is to see: a shop's orders, who wants them, and what went wrong.
type shoot struct {
	world.Stack
	consumer        world.Client
	billing, failed string
	producer        *world.Producer
	receivers       []*world.Receiver
}

func (s *shoot) close() {
	for _, r := range s.receivers {
		_ = r.Close() // nobody waits for it
	}
	if s.producer != nil {
		_ = s.producer.Close() // nothing is under way
	}
}

// receiver answers as it is told.
func (s *shoot) receiver(answer func(n int, c world.Callback) int) (string, error) {
	r, err := world.NewReceiver(answer)
	if err != nil {
		return "", err
	}
	s.receivers = append(s.receivers, r)
	return r.URL, nil
}

const orders = `{"types":[
	{"name":"order.created","description":"Somebody ordered.","schema":{"type":"object","required":["order"],"properties":{"order":{"type":"string"},"total":{"type":"number","minimum":0}}}},
	{"name":"order.paid","description":"The money is there."}],"policy":{"schema_mode":"reject","max_subscriptions":50}}`

// set makes it all and waits until it can be seen.
func (s *shoot) set(ctx context.Context) (err error) {
	if _, err = s.Admin().Do(ctx, http.MethodPut, "/admin/v1/resources/orders", orders); err != nil {
		return err
	}
	if s.consumer, err = s.NewConsumer(ctx, "acme", world.Grant{Resource: "orders", Actions: []string{"subscribe", "publish"}}); err != nil {
		return err
	}
	if s.producer, err = s.NewProducer(ctx); err != nil {
		return err
	}
	if err = s.subscribe(ctx); err != nil {
		return err
	}
	if err = s.publish(ctx); err != nil {
		return err
	}
	if s.failed, err = s.await(ctx, "a delivery that was given up", s.consumer, "/orders/subscribe/"+s.billing+"/deliveries?status=failed&event_id=order-4002", "id"); err != nil {
		return err
	}
	_, err = s.await(ctx, "an open breaker", s.Admin(), "/admin/v1/breakers", "subscription_id")
	return err
}

// subscribe makes an endpoint that refuses some events, one that works, one that is gone and one that never works.
func (s *shoot) subscribe(ctx context.Context) error {
	refuses := func(_ int, c world.Callback) int {
		if strings.Contains(string(c.Body), "order-4002") || strings.Contains(string(c.Body), "order-4031") {
			return http.StatusServiceUnavailable
		}
		return http.StatusNoContent
	}
	always := func(status int) func(int, world.Callback) int {
		return func(int, world.Callback) int { return status }
	}
	for _, sub := range []struct {
		description string
		answer      func(int, world.Callback) int
		more        map[string]any
	}{
		{"Billing", refuses, map[string]any{"types": []string{"order.*"}, "filter": "data.total > 10.0", "retry_schedule": []string{"250ms", "1s"}}},
		{"Warehouse", always(http.StatusNoContent), map[string]any{"types": []string{"order.paid"}, "format": "data"}},
		{"Old shop", always(http.StatusGone), nil},
		{"Newsletter", always(http.StatusInternalServerError), map[string]any{"retry_schedule": []string{}}},
	} {
		url, err := s.receiver(sub.answer)
		if err != nil {
			return err
		}
		wish := map[string]any{"callback_url": url, "description": sub.description}
		for name, value := range sub.more {
			wish[name] = value
		}
		made, err := s.consumer.Want(ctx, http.StatusCreated, http.MethodPost, "/orders/subscribe", wish)
		if err != nil {
			return err
		}
		if sub.description == "Billing" {
			s.billing = made.Field("id")
		}
	}
	return nil
}

// publish sends orders, and one message that is none.
func (s *shoot) publish(ctx context.Context) error {
	for i := range 60 {
		kind := []string{"order.created", "order.paid"}[i%2]
		id := fmt.Sprintf("order-%d", 4000+i)
		event := world.Event{Resource: "orders", ID: id, Type: kind, Source: "/shop", Data: fmt.Appendf(nil, `{"order": "%s", "total": %d.90}`, id, 20+7*i%90)}
		if err := s.producer.PublishEvents(ctx, event); err != nil {
			return err
		}
	}
	bad := rabbit.NamesFor("").ToEvents("orders.order.created", rabbit.Message{ContentType: "application/cloudevents+json", Body: []byte(`{"specversion": "1.0", "id": "order-4099"`)})
	return s.producer.Publish(ctx, bad)
}

// await polls a list until it has an item, and returns a field of the first.
func (s *shoot) await(ctx context.Context, what string, by world.Client, path, field string) (string, error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		answer, err := by.Want(ctx, http.StatusOK, http.MethodGet, path, nil)
		if err != nil {
			return "", err
		}
		var list struct{ Items []map[string]any }
		if err := answer.Decode(&list); err != nil {
			return "", err
		}
		if len(list.Items) > 0 {
			value, _ := list.Items[0][field].(string)
			return value, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return "", errors.Join(fmt.Errorf("%s never came", what), ctx.Err())
		}
	}
}

// signIn opens a tab with a link that somebody has made.
func (s *shoot) signIn(ctx context.Context, b *browser.Browser, by world.Client, path string) (*browser.Tab, error) {
	link, err := by.Want(ctx, http.StatusCreated, http.MethodPost, path, nil)
	if err != nil {
		return nil, err
	}
	tab, err := b.Tab(browser.TabOptions{})
	if err != nil {
		return nil, err
	}
	if err := tab.Do(browser.Go(link.Field("url")), browser.Click(browser.Button, "Sign in"), browser.Have(browser.Button, "Sign out")); err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	return tab, nil
}
