package plugin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
)

// KeyAuth lets only consumers of apisix.yaml through, by a key in a header.
type KeyAuth struct {
	Header          string `yaml:"header"`
	HideCredentials bool   `yaml:"hide_credentials"`
}

func addKeyAuth(c *Chain, p config.Plugin) error {
	c.KeyAuth = &KeyAuth{Header: "apikey"}
	if err := config.Strict(p.Path, p.Raw, c.KeyAuth); err != nil {
		return err
	}
	if c.KeyAuth.Header == "" {
		return fmt.Errorf("%s.header is empty: name a header", p.Path)
	}
	return nil
}

// Keys are the keys of all consumers, each with its consumer's name.
type Keys map[string]string

// NewKeys reads what the consumers have for key-auth. Its error lists every fault and no key.
func NewKeys(consumers []config.Consumer) (Keys, error) {
	keys := Keys{}
	var errs []error
	for _, c := range consumers {
		for _, p := range c.Plugins {
			errs = append(errs, keys.add(c.Username, p))
		}
	}
	return keys, errors.Join(errs...)
}

func (k Keys) add(username string, p config.Plugin) error {
	if p.Name != "key-auth" {
		return fmt.Errorf("%s: devgateway knows key-auth only", p.Path)
	}
	var conf struct {
		Key string `yaml:"key"`
	}
	if err := config.Strict(p.Path, p.Raw, &conf); err != nil {
		return err
	}
	if _, taken := k[conf.Key]; taken || conf.Key == "" {
		return fmt.Errorf("%s.key is empty or another consumer's: give each its own", p.Path)
	}
	k[conf.Key] = username
	return nil
}

// Consumer finds who calls and changes the headers as APISIX does: the names are its own from then on. why is the answer to
// somebody who is not let in.
func (a *KeyAuth) Consumer(keys Keys, h http.Header) (name, why string) {
	sent := h.Values(a.Header)
	if len(sent) == 0 {
		return "", "Missing API key in request"
	}
	name, known := keys[sent[0]]
	if !known {
		return "", "Invalid API key in request"
	}
	if a.HideCredentials {
		h.Del(a.Header)
	}
	h.Del("X-Credential-Identifier")
	h.Del("X-Consumer-Custom-Id")
	h.Set("X-Consumer-Username", name)
	return name, ""
}
