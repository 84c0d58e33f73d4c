package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/receive"
)

func (a *app) receiveCommand() *cobra.Command {
	var keys keyFlags
	var listen string
	endpoint := &receive.Endpoint{Now: a.Now}
	cmd := &cobra.Command{
		Use: "receive", Short: "An endpoint that prints callbacks, checks their signatures and consents", Args: cobra.NoArgs,
		Long: `Be an endpoint to try callbacks with: print each one, check its signature if a key is given, and consent where the service asks
whether callbacks are wanted. It ends with Ctrl-C.`,
		Example: `  webhookctl receive --listen 127.0.0.1:9000 --secret-file orders.secret
  webhookctl receive --status 503   # to see retries; 410 ends the subscription`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			held, err := keys.keys(cmd, a)
			if err != nil {
				return err
			}
			if endpoint.Status < 200 || endpoint.Status > 599 {
				return usage("--status %d: give an HTTP status", endpoint.Status)
			}
			endpoint.Keys = held
			return a.receive(cmd.Context(), listen, endpoint)
		},
	}
	keys.register(cmd)
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9000", "where to listen")
	cmd.Flags().IntVar(&endpoint.Status, "status", http.StatusNoContent, "what to answer")
	cmd.Flags().BoolVar(&endpoint.Consent, "consent", true, "whether to consent to callbacks")
	cmd.Flags().DurationVar(&endpoint.Tolerance, "tolerance", 5*time.Minute, "how far a timestamp may be off; 0: it does not count")
	return cmd
}

func (a *app) receive(ctx context.Context, listen string, endpoint *receive.Endpoint) error {
	var mu sync.Mutex
	endpoint.Show = func(got receive.Got) {
		mu.Lock()
		defer mu.Unlock()
		a.showGot(got)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return exit.With(exit.Usage, fmt.Errorf("--listen: %w", err))
	}
	server := &http.Server{Handler: endpoint, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_, _ = fmt.Fprintf(a.Err, "listening on http://%s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}

// gotView is a request for programs.
type gotView struct {
	receive.Got
	Text string `json:"body"`
}

func (a *app) showGot(got receive.Got) {
	if !a.print.Human() {
		_ = a.print.Line(gotView{got, string(got.Body)}) // a reader that is gone ends the process by itself
		return
	}
	var notes []string
	if id := got.Header.Get("Webhook-Id"); id != "" {
		notes = append(notes, "webhook-id "+output.OneLine(id, 100))
	}
	switch {
	case got.Consent != "":
		notes = append(notes, "consent "+got.Consent)
	case got.Verdict == nil:
		notes = append(notes, "signature not checked")
	}
	if got.Verdict != nil && got.Verdict.Holds {
		notes = append(notes, a.print.Good("signature holds"))
	} else if got.Verdict != nil {
		notes = append(notes, a.print.Bad("SIGNATURE REFUSED: "+output.OneLine(strings.Join(got.Verdict.Faults, "; "), 300)))
	}
	a.print.Say("%s %s  → %d  %s", got.Method, output.OneLine(got.Path, 200), got.Status, strings.Join(notes, "  "))
	if len(got.Body) > 0 {
		a.print.Say("%s", output.Clean(string(got.Body)))
	}
}
