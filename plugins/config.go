package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/guard"
	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/internal/tlsconf"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/egress"
)

// environment is what the runner reads. APISIX hands on only what nginx_config.envs lists.
type environment struct {
	RedisURL     string        `env:"REDIS_URL"`
	RedisFiles   tlsconf.Files `envPrefix:"WEBHOOK_REDIS_"`
	GatewayKey   string        `env:"WEBHOOK_GATEWAY_KEY"`
	GatewayKeys  string        `env:"WEBHOOK_GATEWAY_KEY_FILE"`
	CallbackKey  string        `env:"WEBHOOK_CALLBACK_KEY"`
	CallbackKeys string        `env:"WEBHOOK_CALLBACK_KEY_FILE"`
	// The loopback address of the egress, which is also the upstream of the callback route.
	Egress     string   `env:"WEBHOOK_EGRESS" envDefault:"127.0.0.1:9280"`
	AllowCIDRs []string `env:"WEBHOOK_ALLOW_CIDRS"`
	AllowHTTP  bool     `env:"WEBHOOK_ALLOW_HTTP"`
	DNS        string   `env:"WEBHOOK_DNS"`
	// The gateway's way out: `http://user:password@host:port` (CONNECT) or `socks5://…`; none unless set. The proxies of the environment (`HTTPS_PROXY`) are ignored.
	EgressProxy string `env:"WEBHOOK_EGRESS_PROXY"`
	Keyring     string `env:"WEBHOOK_KEYRING"`
	KeyringFile string `env:"WEBHOOK_KEYRING_FILE"`
	// Where the runner serves `/metrics`, `/healthz` and `/readyz`; nowhere if it is `off`.
	Metrics string `env:"WEBHOOK_RUNNER_METRICS_LISTEN" envDefault:"127.0.0.1:8085"`
}

// logging is read by itself, so that a fault elsewhere does not change how it is logged.
type logging struct {
	Level zapcore.Level `env:"WEBHOOK_LOG_LEVEL" envDefault:"warn"`
}

// parts are what the environment makes.
type parts struct {
	store    *store.Store
	redis    *tlsconf.Client  // of the store
	keys     *keyring.Keyring // nil: there are none, so no client certificates either
	gateway  *contract.Signer
	callback *contract.Signer
	policy   *guard.Policy
	resolver *net.Resolver
	proxy    *egress.Proxy
}

// build makes the parts, or returns all that is wrong with the environment at once, without the values.
func (e environment) build(log *zap.Logger) (parts, error) {
	var p parts
	var errs [7]error
	p.keys, errs[6] = e.keyring()
	p.store, p.redis, errs[0] = e.openStore(p.keys, log)
	p.gateway, errs[1] = e.gatewayKeys().Signer()
	p.callback, errs[2] = e.callbackKeys().Signer()
	if p.policy, errs[3] = guard.New(e.AllowCIDRs, e.AllowHTTP); errs[3] != nil {
		errs[3] = fmt.Errorf("WEBHOOK_ALLOW_CIDRS: %w", errs[3])
	}
	if p.resolver, errs[4] = guard.NewResolver(e.DNS); errs[4] != nil {
		errs[4] = fmt.Errorf("WEBHOOK_DNS: %w", errs[4])
	}
	if p.proxy, errs[5] = egress.ParseProxy(e.EgressProxy); errs[5] != nil {
		errs[5] = fmt.Errorf("WEBHOOK_EGRESS_PROXY: %w", errs[5])
	}
	return p, errors.Join(append(errs[:], checkLoopback(e.Egress), e.checkMetrics())...)
}

func (e environment) openStore(keys *keyring.Keyring, log *zap.Logger) (*store.Store, *tlsconf.Client, error) {
	if e.RedisURL == "" {
		return nil, nil, errors.New("REDIS_URL is missing: set it to redis://user:password@host:port/0")
	}
	secure, err := tlsconf.NewClient(tlsconf.Redis(e.RedisURL), e.RedisFiles, log)
	if err != nil {
		return nil, nil, err
	}
	opened, err := store.Open(store.Options{URL: e.RedisURL, TLS: secure, Keyring: keys})
	return opened, secure, err
}

// keyring opens client certificates, and nothing else here; without one, callbacks that show one wait.
func (e environment) keyring() (*keyring.Keyring, error) {
	if e.Keyring == "" && e.KeyringFile == "" {
		return nil, nil //nolint:nilnil // a store takes none for none
	}
	return keyring.Load(e.Keyring, e.KeyringFile)
}

// gatewayKeys sign what is said of callers.
func (e environment) gatewayKeys() service.Keys {
	return service.Keys{Variable: "WEBHOOK_GATEWAY_KEY", Value: e.GatewayKey, File: e.GatewayKeys}
}

// callbackKeys verify what is said of callbacks.
func (e environment) callbackKeys() service.Keys {
	return service.Keys{Variable: "WEBHOOK_CALLBACK_KEY", Value: e.CallbackKey, File: e.CallbackKeys}
}

// checkLoopback keeps the egress from being offered to the network.
func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("WEBHOOK_EGRESS cannot be read: write it as 127.0.0.1:9280")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return errors.New("WEBHOOK_EGRESS is not a loopback address: write it as 127.0.0.1:9280")
	}
	return nil
}

// noMetrics is the address of metrics that are served nowhere.
const noMetrics = "off"

func (e environment) checkMetrics() error {
	if _, _, err := net.SplitHostPort(e.Metrics); err != nil && e.Metrics != noMetrics {
		return errors.New("WEBHOOK_RUNNER_METRICS_LISTEN cannot be read: write it as 127.0.0.1:8085, or off")
	}
	return nil
}

// readEnvironment returns both parts of the environment and what could not be read of it.
func readEnvironment() (environment, logging, error) {
	env, err := service.Environment[environment]()
	level, levelErr := service.Environment[logging]()
	if levelErr != nil {
		level.Level = zapcore.WarnLevel
	}
	return env, level, errors.Join(err, levelErr)
}
