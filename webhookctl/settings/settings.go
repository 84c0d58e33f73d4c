// Package settings finds out whom webhookctl speaks to and as whom: from flags, the environment, and a context of the contexts
// file or the .run/env of a stack in the current directory.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Name is a setting, as the environment has it.
type Name string

// The settings.
const (
	GatewayURL          Name = "GATEWAY_URL"
	AdminURL            Name = "ADMIN_URL"
	AMQPURL             Name = "AMQP_URL"
	RedisURL            Name = "REDIS_URL"
	APIKey              Name = "WEBHOOK_API_KEY" // #nosec G101 -- a name
	Token               Name = "WEBHOOK_TOKEN"   // #nosec G101 -- a name
	AdminToken          Name = "ADMIN_TOKEN"     // #nosec G101 -- a name
	CallbackMetrics     Name = "CALLBACK_METRICS_URL"
	ListenerMetrics     Name = "LISTENER_METRICS_URL"
	SubscriptionMetrics Name = "SUBSCRIPTION_METRICS_URL"
	RunnerMetrics       Name = "RUNNER_METRICS_URL"
	ManagementURL       Name = "RABBITMQ_MANAGEMENT_URL"
)

// Where settings of the nearer layers are from.
const (
	FromFlag        = "a flag"
	FromEnvironment = "the environment"
)

// Names are all settings.
var Names = []Name{GatewayURL, AdminURL, AMQPURL, RedisURL, APIKey, Token, AdminToken, CallbackMetrics, ListenerMetrics, SubscriptionMetrics, RunnerMetrics, ManagementURL}

// belongs says to which address a credential may go.
var belongs = map[Name]Name{APIKey: GatewayURL, Token: GatewayURL, AdminToken: AdminURL}

// Layer is where some settings are from.
type Layer struct {
	From   string
	Values map[Name]string
}

// Settings are the values that hold. Each knows where it is from.
type Settings struct {
	values map[Name]string
	from   map[Name]string
	// Notes say what was left out, and why.
	Notes []string
}

// Merge lets an earlier layer win. A credential of the last one, which is a file, goes only to the address that stands beside it
// there: nobody means to show a key to some other address.
func Merge(base Layer, over ...Layer) Settings {
	s := Settings{values: map[Name]string{}, from: map[Name]string{}}
	for _, layer := range over {
		s.fill(layer, func(Name) bool { return true })
	}
	s.fill(base, func(n Name) bool { return belongs[n] == "" })
	s.fill(base, func(n Name) bool {
		if at := belongs[n]; s.values[at] == base.Values[at] {
			return true
		}
		if s.values[n] == "" && base.Values[n] != "" {
			s.Notes = append(s.Notes, fmt.Sprintf("%s of %s is not used, since %s is another one", n, base.From, belongs[n]))
		}
		return false
	})
	return s.oneCredential()
}

func (s *Settings) fill(layer Layer, may func(Name) bool) {
	for _, name := range Names {
		if value := layer.Values[name]; value != "" && s.values[name] == "" && may(name) {
			s.values[name], s.from[name] = value, layer.From
		}
	}
}

// oneCredential: the gateway refuses a key and a token at once. Of two layers the nearer one counts, of one its key.
func (s Settings) oneCredential() Settings {
	if !s.Has(APIKey) || !s.Has(Token) {
		return s
	}
	less := Token
	if nearness(s.from[Token]) < nearness(s.from[APIKey]) {
		less = APIKey
	}
	delete(s.values, less)
	return s
}

func nearness(from string) int {
	if i := slices.Index([]string{FromFlag, FromEnvironment}, from); i >= 0 {
		return i
	}
	return 2
}

// Get returns a setting, "" if there is none.
func (s Settings) Get(n Name) string { return s.values[n] }

// Has reports whether there is a setting.
func (s Settings) Has(n Name) bool { return s.values[n] != "" }

// From tells where a setting is from.
func (s Settings) From(n Name) string { return s.from[n] }

// hints say how a setting can be given.
var hints = map[Name]string{ // #nosec G101 -- names
	GatewayURL: "--gateway-url, GATEWAY_URL or a context; `make up` writes it to .run/env", AdminURL: "--admin-url, ADMIN_URL or a context; `make up` writes it to .run/env",
	AMQPURL: "AMQP_URL, --amqp-url or a context; `make up` writes it to .run/env", AdminToken: "ADMIN_TOKEN, --admin-token-file or a context",
	RedisURL: "REDIS_URL or --redis-url",
	APIKey:   "WEBHOOK_API_KEY, --key-file or a context; or WEBHOOK_TOKEN, --token-file for a JWT. An admin makes keys: webhookctl keys create",
}

// ErrMissing is wrapped by the error of a setting that is needed.
var ErrMissing = errors.New("is not set")

// Need returns a setting, or an error that says how to give it.
func (s Settings) Need(n Name) (string, error) {
	if s.Has(n) {
		return s.Get(n), nil
	}
	return "", fmt.Errorf("%s %w: give %s", n, ErrMissing, hints[n])
}

// URL returns the address of a setting, without a slash at its end.
func (s Settings) URL(n Name) (string, error) {
	text, err := s.Need(n)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return "", fmt.Errorf("%s (from %s) is not the address of a server: write it as https://host:port", n, s.From(n))
	}
	return strings.TrimSuffix(text, "/"), nil
}

// Loopback reports whether an address is on this machine.
func Loopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
