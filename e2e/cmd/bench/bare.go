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

// bare is what the whole pipeline is measured against: consume → POST → ack, with nothing kept, signed or tried again.
type bare struct {
	AMQPURL string
	// Gateway is the gateway's callback route; empty: the POST goes straight to the endpoint.
	Gateway  string
	Key      []byte
	Prefetch int
	Targets  []string

	client     http.Client
	statements atomic.Pointer[[]string]
	next       atomic.Uint64
}

func runBare(ctx context.Context) error {
	b := &bare{}
	ctx, err := readConfig(ctx, b)
	if err != nil {
		return err
	}
	b.client.Transport = &http.Transport{MaxIdleConnsPerHost: b.Prefetch, DisableCompression: true}
	signer, err := contract.NewSigner(b.Key, time.Now)
	if err != nil {
		return err
	}
	conn, err := rabbit.Open(ctx, b.AMQPURL, rabbit.Options{Namespace: bareNamespace, Name: "bench bare"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := b.state(signer); err != nil {
		return err
	}
	go b.renew(ctx, signer)
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
	i := int(b.next.Add(1)) % len(b.Targets) // #nosec G115 -- it never gets that far
	url, statements := b.Targets[i], *b.statements.Load()
	if b.Gateway != "" {
		url = b.Gateway
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false
	}
	req.Header["Content-Type"] = []string{"application/json"}
	req.Header[contract.HeaderStatement] = statements[i : i+1]
	resp, err := b.client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close() == nil && resp.StatusCode < http.StatusMultipleChoices
}

// state makes the statements that calls carry for as long as they hold.
func (b *bare) state(signer *contract.Signer) error {
	statements := make([]string, len(b.Targets))
	for i, target := range b.Targets {
		statement, err := signer.SignCallback(contract.Callback{Target: target, Subscription: "bench", Delivery: "bench"})
		if err != nil {
			return err
		}
		statements[i] = statement
	}
	b.statements.Store(&statements)
	return nil
}

func (b *bare) renew(ctx context.Context, signer *contract.Signer) {
	ticker := time.NewTicker(contract.StatementLife / 3)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = b.state(signer) // it has worked before
		}
	}
}
