package doctor

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/apisix-webhooks/apisix-webhooks/internal/keyring"
	"github.com/apisix-webhooks/apisix-webhooks/internal/service"
	"github.com/apisix-webhooks/apisix-webhooks/webhookctl/client"
)

// variables are all that anything of the project reads, one to a line. Written by go run ./e2e/cmd/docs.
//
//go:embed variables.txt
var variables string

// own are those that webhookctl alone reads.
var own = []string{"WEBHOOK_API_KEY", "WEBHOOK_TOKEN", "WEBHOOK_SECRET", "WEBHOOKCTL_CONFIG"}

// configuration looks at the variables that are set.
func configuration(ctx context.Context, p Patient, e *examination) {
	e.unknown(p.Environment)
	e.keys(p.Environment)
	e.keyring(p.Environment)
	e.adminTokens(p.Environment)
	e.publicURL(ctx, p)
}

// unknown finds variables that nothing reads, with the one that was probably meant.
func (e *examination) unknown(env map[string]string) {
	known := append(strings.Fields(variables), own...)
	found := 0
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !strings.HasPrefix(name, "WEBHOOK") || slices.Contains(known, name) {
			continue
		}
		found++
		fix := "unset it: nothing reads it"
		if near := nearest(name, known); near != "" {
			fix = "did you mean " + near + "?"
		}
		e.warn("variables", name+" is set and not known", fix)
	}
	if found == 0 {
		e.fine("variables", "none is unknown")
	}
}

// nearest is the known name that differs least; "" if none is alike.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/5)+1
	for _, k := range known {
		if d := levenshtein.ComputeDistance(name, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// keys looks at the keys of statements.
func (e *examination) keys(env map[string]string) {
	for _, variable := range []string{"WEBHOOK_GATEWAY_KEY", "WEBHOOK_CALLBACK_KEY"} {
		value, file := env[variable], env[variable+"_FILE"]
		if value == "" && file == "" {
			continue
		}
		if _, err := (service.Keys{Variable: variable, Value: value, File: file}).Signer(); err != nil {
			e.fault(variable, err.Error(), "openssl rand -hex 32 makes one; a file needs mode 600")
		} else if weak(value) {
			e.fault(variable, "is easy to guess", "openssl rand -hex 32 makes one")
		} else {
			e.fine(variable, "long enough")
		}
	}
}

// weak finds what nobody drew at random: few different characters, or words that stand in examples.
func weak(secret string) bool {
	if secret == "" {
		return false
	}
	different := map[rune]bool{}
	for _, r := range secret {
		different[r] = true
	}
	lower := strings.ToLower(secret)
	return len(different) < 8 || slices.ContainsFunc([]string{"secret", "changeme", "password", "example", "123456"}, func(word string) bool { return strings.Contains(lower, word) })
}

func (e *examination) keyring(env map[string]string) {
	value, file := env["WEBHOOK_KEYRING"], env["WEBHOOK_KEYRING_FILE"]
	if value == "" && file == "" {
		return
	}
	if _, err := keyring.Load(value, file); err != nil {
		e.fault("key ring", err.Error(), `echo "k1:$(openssl rand -base64 32)" makes one; the file needs mode 600`)
		return
	}
	e.fine("key ring", "it can be read")
}

// leastToken is the shortest admin token that the service takes, in bytes.
const leastToken = 16

func (e *examination) adminTokens(env map[string]string) {
	token := env["WEBHOOK_ADMIN_TOKEN"]
	switch {
	case token == "":
	case len(token) < leastToken || weak(token):
		e.fault("WEBHOOK_ADMIN_TOKEN", "is short or easy to guess", "openssl rand -hex 24 makes one")
	default:
		e.fine("WEBHOOK_ADMIN_TOKEN", "long enough")
	}
}

// publicURL looks whether what endpoints and browsers are told leads to the gateway.
func (e *examination) publicURL(ctx context.Context, p Patient) {
	text := p.Environment["WEBHOOK_PUBLIC_URL"]
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	const name = "WEBHOOK_PUBLIC_URL"
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		e.fault(name, "is not the address of a server", "write it as https://hooks.example.com")
		return
	}
	if u.Scheme == "http" && !loopback(text) {
		e.warn(name, "has no TLS: sign-in links of the portal and links for consent go in the clear", "give the gateway TLS, and write it as https://…")
	}
	answer, err := p.client(strings.TrimSuffix(text, "/"), nil).Do(ctx, client.Request{Method: http.MethodPost, Path: "/orders/subscribe"})
	switch {
	case err != nil:
		e.warn(name, err.Error(), "see whether it can be reached from outside: from this machine it can't")
	case answer.Status != http.StatusUnauthorized:
		e.fault(name, fmt.Sprintf("does not lead to the gateway: it answers %d", answer.Status), "set it to the gateway's address as the world sees it")
	default:
		e.fine(name, "leads to the gateway")
	}
}
