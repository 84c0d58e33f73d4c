package command

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/exit"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/output"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/settings"
)

// flags are those of every command.
type flags struct {
	gatewayURL, adminURL, amqpURL, redisURL           string
	apiKey, keyFile, tokenFile, adminTokenFile, named string
	output                                            string
	noColour, quiet, verbose                          bool
	timeout                                           time.Duration
}

func (f *flags) register(root *cobra.Command) {
	set := root.PersistentFlags()
	set.StringVar(&f.gatewayURL, "gateway-url", "", "the gateway's address ($GATEWAY_URL)")
	set.StringVar(&f.adminURL, "admin-url", "", "the admin listener's address ($ADMIN_URL)")
	set.StringVar(&f.amqpURL, "amqp-url", "", "the broker's URL ($AMQP_URL); other users of this machine can see its password in a flag")
	set.StringVar(&f.redisURL, "redis-url", "", "the URL of Redis, for doctor ($REDIS_URL); other users of this machine can see its password in a flag")
	set.StringVar(&f.keyFile, "key-file", "", "a file with your API key, - for stdin ($WEBHOOK_API_KEY has the key itself)")
	set.StringVar(&f.apiKey, "api-key", "", "your API key itself; other users of this machine can see it")
	set.StringVar(&f.tokenFile, "token-file", "", "a file with your JWT, - for stdin ($WEBHOOK_TOKEN has the token itself)")
	set.StringVar(&f.adminTokenFile, "admin-token-file", "", "a file with your admin token, - for stdin ($ADMIN_TOKEN has the token itself)")
	set.StringVar(&f.named, "context", "", "the context to use (webhookctl context list)")
	set.StringVarP(&f.output, "output", "o", string(output.Table), "how to answer: table, json or yaml")
	set.BoolVarP(&f.quiet, "quiet", "q", false, "write no more than the id, or the key, of what was made")
	set.BoolVar(&f.noColour, "no-color", false, "no colours, as with $NO_COLOR")
	set.BoolVarP(&f.verbose, "verbose", "v", false, "say on stderr where settings are from")
	set.DurationVar(&f.timeout, "timeout", 30*time.Second, "the longest that one call may take")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.Formats, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// prepare reads the settings, before any command.
func (a *app) prepare() error {
	if !slices.Contains(output.Formats, a.flags.output) {
		return usage("--output %s: use %s", a.flags.output, strings.Join(output.Formats, ", "))
	}
	found, err := a.find()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	a.settings = found
	_, noColour := a.environment()["NO_COLOR"]
	a.print = &output.Printer{
		Out: a.Out, Format: output.Format(a.flags.output), Quiet: a.flags.quiet, Now: a.Now,
		Colour: a.OutTerminal && !a.flags.noColour && !noColour,
	}
	a.explainSettings()
	a.prepared = true
	return nil
}

func (a *app) environment() map[string]string {
	values := map[string]string{}
	for _, entry := range a.Environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	return values
}

// find puts flags, environment, and a context or a stack's file together.
func (a *app) find() (settings.Settings, error) {
	given, err := a.given()
	if err != nil {
		return settings.Settings{}, err
	}
	environment := settings.Layer{From: settings.FromEnvironment, Values: map[settings.Name]string{}}
	for name, value := range a.environment() {
		environment.Values[settings.Name(name)] = value
	}
	base, err := a.base()
	if err != nil {
		return settings.Settings{}, err
	}
	return settings.Merge(base, given, environment), nil
}

// given are the settings of flags.
func (a *app) given() (settings.Layer, error) {
	f := a.flags
	layer := settings.Layer{From: settings.FromFlag, Values: map[settings.Name]string{
		settings.GatewayURL: f.gatewayURL, settings.AdminURL: f.adminURL, settings.AMQPURL: f.amqpURL, settings.RedisURL: f.redisURL, settings.APIKey: f.apiKey,
	}}
	for _, file := range []struct {
		name settings.Name
		path string
	}{{settings.APIKey, f.keyFile}, {settings.Token, f.tokenFile}, {settings.AdminToken, f.adminTokenFile}} {
		if file.path == "" {
			continue
		}
		if layer.Values[file.name] != "" {
			return layer, fmt.Errorf("give either --api-key or --key-file")
		}
		secret, err := settings.ReadSecret(file.path, a.In)
		if err != nil {
			return layer, err
		}
		layer.Values[file.name] = secret
	}
	return layer, nil
}

// base is what stands behind flags and environment: the context that is named, the stack of this directory, the current context.
func (a *app) base() (settings.Layer, error) {
	if a.flags.named == "" {
		if layer, ok, err := settings.ReadStack(a.dir()); ok || err != nil {
			return layer, err
		}
	}
	contexts, err := settings.ReadContexts(a.ConfigFile)
	if err != nil {
		return settings.Layer{}, err
	}
	return contexts.Layer(a.flags.named)
}

func (a *app) dir() string {
	if a.Dir != "" {
		return a.Dir
	}
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	return dir
}

// explainSettings says where settings are from, and none of the credentials.
func (a *app) explainSettings() {
	for _, note := range a.settings.Notes {
		_, _ = fmt.Fprintln(a.Err, "note: "+note)
	}
	if !a.flags.verbose {
		return
	}
	for _, name := range settings.Names {
		if a.settings.Has(name) {
			_, _ = fmt.Fprintf(a.Err, "%s is from %s\n", name, a.settings.From(name))
		}
	}
}

// admin is a client of the admin API.
func (a *app) admin() (*client.Client, error) {
	base, err := a.settings.URL(settings.AdminURL)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	token, err := a.settings.Need(settings.AdminToken)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	return client.New(base, http.Header{"Authorization": {"Bearer " + token}}, a.flags.timeout), nil
}

// gateway is a client of the gateway, as the consumer.
func (a *app) gateway() (*client.Client, error) {
	base, err := a.settings.URL(settings.GatewayURL)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	header := a.credential()
	if header == nil {
		_, err := a.settings.Need(settings.APIKey)
		return nil, exit.With(exit.Usage, err)
	}
	return client.New(base, header, a.flags.timeout), nil
}

// logger drops what libraries would log: every fault is an error here.
func (a *app) logger() *zap.Logger { return zap.NewNop() }
