package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/bearer"
)

const (
	defaultKeyCacheTTL = 2 * time.Second
	// maxKeyCacheTTL leaves a second for the look-up itself: a revoked key is refused everywhere within five.
	maxKeyCacheTTL = 4 * time.Second
)

// Config is the value of both plugins in a route. Every route carries the same value for both, since after a reload APISIX
// may run a call with the configuration of another route.
type Config struct {
	// KeyCacheTTL is how old an answer about an API key or a consumer may be; zero asks Redis every time.
	KeyCacheTTL time.Duration
	// Issuers are those whose JWTs are taken; nil takes none.
	Issuers *bearer.Issuers
	// ApisixConsumers tells that whom APISIX authenticated is believed to be the consumer of that name.
	ApisixConsumers bool

	// fault is why every call is refused under this configuration.
	fault error
}

type rawConfig struct {
	KeyCacheTTL     *string          `json:"key_cache_ttl"`
	JWT             *bearer.Settings `json:"jwt"`
	ApisixConsumers bool             `json:"apisix_consumers"`
}

// Parse reads a plugin's value. Its error names the field and the fix and repeats no value.
func Parse(value []byte) (Config, error) {
	var raw *rawConfig
	if err := decodeStrict(value, &raw); err != nil {
		return Config{}, err
	}
	if raw == nil {
		return Config{}, errors.New("the value is null: write {} for the defaults")
	}
	c := Config{KeyCacheTTL: defaultKeyCacheTTL, ApisixConsumers: raw.ApisixConsumers}
	if raw.KeyCacheTTL != nil {
		ttl, err := time.ParseDuration(*raw.KeyCacheTTL)
		if err != nil || ttl < 0 || ttl > maxKeyCacheTTL {
			return Config{}, fmt.Errorf("key_cache_ttl: write a duration from 0s to %s, e.g. 2s", maxKeyCacheTTL)
		}
		c.KeyCacheTTL = ttl
	}
	if raw.JWT != nil {
		issuers, err := raw.JWT.Check()
		if err != nil {
			return Config{}, err
		}
		c.Issuers = issuers
	}
	return c, nil
}

func decodeStrict(value []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return describe(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the value has something after the JSON object: take it out")
	}
	return nil
}

// kinds are what fields can be.
var kinds = map[reflect.Kind]string{reflect.String: "a string", reflect.Bool: "true or false", reflect.Slice: "a list", reflect.Struct: "an object"}

// describe keeps the field's name and leaves the rest of the value out: somebody may have put a secret there.
func describe(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field == "" {
			return errors.New("the value is no JSON object: write {} for the defaults")
		}
		return fmt.Errorf("%s: write it as %s", wrong.Field, kinds[wrong.Type.Kind()])
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("unknown field %s: take it out", contract.Printable(name))
	}
	return errors.New("the value is not valid JSON: write {} for the defaults")
}
