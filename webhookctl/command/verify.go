package command

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/signature"
)

// keyFlags are what signatures are checked with.
type keyFlags struct {
	secrets, secretFiles, publicKeys []string
	subscription                     string
}

func (k *keyFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&k.secretFiles, "secret-file", nil, "a file with the subscription's secret (repeatable; $WEBHOOK_SECRET has the secret itself)")
	f.StringSliceVar(&k.secrets, "secret", nil, "the secret itself; other users of this machine can see it (repeatable)")
	f.StringSliceVar(&k.publicKeys, "public-key", nil, "whpk_…: a public key of v1a (repeatable)")
	f.StringVar(&k.subscription, "subscription", "", "the id of a subscription whose public keys are fetched from the gateway, for v1a")
}

func (k *keyFlags) keys(cmd *cobra.Command, a *app) (signature.Keys, error) {
	keys := signature.Keys{Secrets: k.secrets}
	if secret := a.environment()["WEBHOOK_SECRET"]; secret != "" {
		keys.Secrets = append(keys.Secrets, secret)
	}
	for _, file := range k.secretFiles {
		secret, err := settings.ReadSecret(a.secretPath(file), a.In)
		if err != nil {
			return keys, exit.With(exit.Usage, err)
		}
		keys.Secrets = append(keys.Secrets, secret)
	}
	for _, text := range k.publicKeys {
		key, err := signature.ParsePublic(text)
		if err != nil {
			return keys, usage("--public-key: %v", err)
		}
		keys.Public = append(keys.Public, key)
	}
	if err := keys.Check(); err != nil {
		return keys, exit.With(exit.Usage, err)
	}
	return keys, k.fetch(cmd, a, &keys)
}

// fetch gets a subscription's public keys, which anybody may have.
func (k *keyFlags) fetch(cmd *cobra.Command, a *app, keys *signature.Keys) error {
	if k.subscription == "" {
		return nil
	}
	base, err := a.settings.URL(settings.GatewayURL)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	id := k.subscription[strings.LastIndexByte(k.subscription, '/')+1:]
	answer, err := client.New(base, nil, a.flags.timeout).Get(cmd.Context(), contract.PathWebhookKeys, url.Values{"subscription": {id}})
	if err != nil {
		return err
	}
	var set struct{ Keys []struct{ X string } }
	if err := answer.Decode(&set); err != nil {
		return err
	}
	for _, key := range set.Keys {
		if raw, err := base64.RawURLEncoding.DecodeString(key.X); err == nil {
			keys.Public = append(keys.Public, raw)
		}
	}
	return nil
}

func (a *app) verifyCommand() *cobra.Command {
	var keys keyFlags
	var headers []string
	var body, at string
	var tolerance time.Duration
	cmd := &cobra.Command{
		Use: "verify", Short: "Check the signature of a callback", Args: cobra.NoArgs,
		Long: `Check the signature of a callback (Standard Webhooks 1.0; v1 and v1a), and say exactly what is wrong with it. Without --header the
whole raw HTTP request is read from stdin: its headers, an empty line, and the body. The exit code is 1 if the signature does not hold.`,
		Example: `  webhookctl verify --secret-file orders.secret < request.txt
  webhookctl verify --secret-file orders.secret --header "webhook-id: dlv_…" --header "webhook-timestamp: 1764266400" \
    --header "webhook-signature: v1,…" --body body.json
  webhookctl verify --subscription sub_… --tolerance 0 < request.txt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			held, err := keys.keys(cmd, a)
			if err != nil {
				return err
			}
			if len(held.Secrets)+len(held.Public) == 0 {
				return usage("give --secret-file, --public-key or --subscription")
			}
			message, err := a.message(headers, body)
			if err != nil {
				return err
			}
			now := a.Now()
			if at != "" {
				if now, err = moment("at", at, now); err != nil {
					return err
				}
			}
			return a.showVerdict(signature.Verify(message, held, now, tolerance))
		},
	}
	keys.register(cmd)
	cmd.Flags().StringArrayVar(&headers, "header", nil, "NAME: VALUE: a header of the callback (repeatable)")
	cmd.Flags().StringVar(&body, "body", "-", "with --header: a file with the body, byte for byte; - for stdin")
	cmd.Flags().DurationVar(&tolerance, "tolerance", 5*time.Minute, "how far the timestamp may be off; 0: it does not count")
	cmd.Flags().StringVar(&at, "at", "", "when the callback came; now unless set")
	return cmd
}

func (a *app) message(headers []string, body string) (signature.Message, error) {
	if len(headers) == 0 {
		if a.InTerminal {
			_, _ = a.Err.Write([]byte("paste the request, with its headers and body, and end with Ctrl-D\n"))
		}
		m, err := signature.ReadRequest(a.In)
		return m, exit.With(exit.Usage, err)
	}
	m := signature.Message{Header: http.Header{}}
	for _, text := range headers {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return m, usage("--header %s: write it as name: value", text)
		}
		m.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	var err error
	m.Body, err = a.readFile(body)
	return m, err
}

func (a *app) showVerdict(v signature.Verdict) error {
	if !a.print.Human() {
		if err := a.print.Value(v); err != nil {
			return err
		}
	} else if !a.print.Quiet {
		a.tellVerdict(v)
	}
	if !v.Holds {
		return exit.With(exit.Failed, errSilent)
	}
	return nil
}

func (a *app) tellVerdict(v signature.Verdict) {
	if v.Holds {
		a.print.Say("%s", a.print.Good("the signature holds"))
	} else {
		a.print.Say("%s", a.print.Bad("the signature does not hold"))
	}
	for _, fault := range v.Faults {
		a.print.Say("  %s", output.Clean(fault))
	}
	for _, hint := range v.Hints {
		a.print.Say("  → %s", hint)
	}
	a.print.Fields(output.Field{Name: "webhook-id", Value: output.OneLine(v.ID, 200)}, output.Field{Name: "timestamp", Value: output.Time(v.At)},
		output.Field{Name: "signatures", Value: output.OneLine(strings.Join(v.Signed, ", "), 200)}, output.Field{Name: "held by", Value: v.By})
}
