// Command receive is a consumer's endpoint to try things with: it prints every callback and checks its signature.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "where to listen")
	secret := flag.String("secret", "", "the subscription's secret, whsec_…; without it signatures are not checked")
	status := flag.Int("status", http.StatusNoContent, "what to answer; 500 shows retries, 410 ends the subscription")
	consent := flag.Bool("consent", true, "whether to consent to callbacks where the service asks for it, with OPTIONS")
	flag.Parse()
	if err := run(*listen, *secret, *status, *consent); err != nil {
		fmt.Fprintln(os.Stderr, "receive:", err)
		os.Exit(1)
	}
}

func run(listen, secret string, status int, consent bool) error {
	var hook *standardwebhooks.Webhook
	if secret != "" {
		var err error
		if hook, err = standardwebhooks.NewWebhook(secret); err != nil {
			return errors.New("-secret cannot be read: give it as the subscribe call showed it, whsec_…")
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		origin := r.Header.Get("WebHook-Request-Origin")
		if r.Method == http.MethodOptions { // of a subscription whose secret may not be ours
			fmt.Printf("%s %s  %s asks for consent, which it gets: %t\n", r.Method, r.URL.RequestURI(), origin, consent && origin != "")
		} else {
			show(r, body, hook)
		}
		if consent && r.Method == http.MethodOptions && origin != "" {
			w.Header().Set("WebHook-Allowed-Origin", origin)
			w.Header().Set("WebHook-Allowed-Rate", "*")
			w.Header().Set("Allow", http.MethodPost)
			w.WriteHeader(http.StatusOK)
			return
		}
		w.WriteHeader(status)
	})}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Printf("listening on http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

func show(r *http.Request, body []byte, hook *standardwebhooks.Webhook) {
	verdict := "signature not checked"
	if hook != nil {
		verdict = "signature holds"
		if err := hook.Verify(body, r.Header); err != nil {
			verdict = "SIGNATURE REFUSED: " + err.Error()
		}
	}
	fmt.Printf("%s %s  webhook-id %s  %s\n%s\n", r.Method, r.URL.RequestURI(), r.Header.Get(standardwebhooks.HeaderWebhookID), verdict, body)
}
