package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
)

const roleBare = "bare"

// bareNamespace holds a queue with the very arguments of the callback service's, which the bare pipeline has for itself.
const bareNamespace = "bench"

// bare is what the whole pipeline is measured against: consume → POST → ack, with nothing kept or tried again, and signed only what the gateway demands.
type bare struct {
	AMQPURL string
	// Gateway is the gateway's callback route; empty: the POST goes straight to the endpoint.
	Gateway  string
	Key      []byte
	Prefetch int
	Targets  []string

	client http.Client
	signer *contract.Signer
	next   atomic.Uint64
}

func runBare(ctx context.Context) error {
	b := &bare{}
	ctx, err := readConfig(ctx, b)
	if err != nil {
		return err
	}
	b.client.Transport = &http.Transport{MaxIdleConnsPerHost: b.Prefetch, DisableCompression: true}
	if b.signer, err = contract.NewSigner(b.Key, time.Now); err != nil {
		return err
	}
	conn, err := rabbit.Open(ctx, b.AMQPURL, rabbit.Options{Namespace: bareNamespace, Name: "bench bare"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := sayReady(true); err != nil {
		return err
	}
	return conn.Consume(ctx, conn.Names().Commands, rabbit.ConsumeOptions{Prefetch: b.Prefetch}, b.handle)
}

func (b *bare) handle(_ context.Context, batch []*rabbit.Delivery) {
	for _, d := range batch {
		go func() {
			if b.post(d.Body) {
				d.Ack()
			} else {
				d.Requeue()
			}
		}()
	}
}

func (b *bare) post(body []byte) bool {
	next := int(b.next.Add(1)) // #nosec G115 -- it never gets that far
	url, header := b.Targets[next%len(b.Targets)], http.Header{"Content-Type": {"application/json"}}
	if b.Gateway != "" { // which takes a statement once
		statement, err := b.signer.SignCallback(contract.Callback{Target: url, Subscription: "bench", Delivery: "bench"})
		if err != nil {
			return false
		}
		header[contract.HeaderStatement] = []string{statement}
		url = b.Gateway
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header = header
	resp, err := b.client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close() == nil && resp.StatusCode < http.StatusMultipleChoices
}
