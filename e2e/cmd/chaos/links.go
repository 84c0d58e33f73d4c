package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is what stands between the services and one thing that they need.
type link struct{ proxy *toxiproxy.Proxy }

// newLink listens on a port of its own. Where it leads to may follow later.
func newLink(name, upstream string) (link, error) {
	quiet := zerolog.Nop()
	l := link{toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), quiet), name, "127.0.0.1:0", upstream)}
	if err := l.proxy.Start(); err != nil {
		return link{}, fmt.Errorf("starting the proxy of %s: %w", name, err)
	}
	return l, nil
}

// newLinkTo is newLink to the host and port of a URL.
func newLinkTo(name, target string) (link, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return link{}, fmt.Errorf("the address of %s cannot be read", name) // without the URL: it holds a password
	}
	return newLink(name, u.Host)
}

func (l link) address() string { return l.proxy.Listen }

func (l link) lead(upstream string) error {
	return l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: upstream, Enabled: true})
}

// cut breaks all connections and refuses new ones; mend takes them again.
func (l link) cut()        { l.proxy.Stop() }
func (l link) mend() error { return l.proxy.Start() }

// stall lets nothing pass. Ending it breaks the connections.
func (l link) stall() error { return l.poison("timeout", map[string]int{"timeout": 0}) }

// slow delays what passes, in both directions.
func (l link) slow() error { return l.poison("latency", map[string]int{"latency": 60, "jitter": 40}) }

func (l link) poison(kind string, attributes map[string]int) error {
	for _, stream := range []string{"upstream", "downstream"} {
		toxic, err := json.Marshal(map[string]any{"name": stream, "type": kind, "stream": stream, "attributes": attributes})
		if err != nil {
			return fmt.Errorf("describing a toxic: %w", err)
		}
		if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(toxic)); err != nil {
			return fmt.Errorf("adding a toxic: %w", err)
		}
	}
	return nil
}

func (l link) cure(ctx context.Context) { l.proxy.Toxics.ResetToxics(ctx) }
