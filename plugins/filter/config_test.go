package filter

import (
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		value string
		ttl   time.Duration
		fault string
	}{
		"empty object":       {value: `{}`, ttl: 2 * time.Second},
		"a ttl":              {value: ` {"key_cache_ttl": "500ms"} `, ttl: 500 * time.Millisecond},
		"no cache":           {value: `{"key_cache_ttl":"0s"}`},
		"longest":            {value: `{"key_cache_ttl":"4s"}`, ttl: 4 * time.Second},
		"null ttl":           {value: `{"key_cache_ttl":null}`, ttl: 2 * time.Second},
		"too long":           {value: `{"key_cache_ttl":"5s"}`, fault: "key_cache_ttl"},
		"negative":           {value: `{"key_cache_ttl":"-1s"}`, fault: "key_cache_ttl"},
		"no duration":        {value: `{"key_cache_ttl":"hunter2"}`, fault: "key_cache_ttl"},
		"a number":           {value: `{"key_cache_ttl":2}`, fault: "key_cache_ttl"},
		"APISIX's consumers": {value: `{"apisix_consumers":true}`, ttl: 2 * time.Second},
		"an issuer":          {value: `{"jwt":{"issuers":[{"issuer":"i","audience":"a","jwks_url":"https://i.example/"}]}}`, ttl: 2 * time.Second},
		"no issuers":         {value: `{"jwt":{}}`, fault: "jwt.issuers: name"},
		"half an issuer":     {value: `{"jwt":{"issuers":[{"issuer":"hunter2"}]}}`, fault: "jwt.issuers[0].audience is missing"},
		"unknown in issuer":  {value: `{"jwt":{"issuers":[{"isuer":"hunter2"}]}}`, fault: `unknown field "isuer"`},
		"issuers no list":    {value: `{"jwt":{"issuers":"hunter2"}}`, fault: "jwt.issuers: write it as a list"},
		"jwt no object":      {value: `{"jwt":"hunter2"}`, fault: "jwt: write it as an object"},
		"leeway a number":    {value: `{"jwt":{"issuers":[{"leeway":30}]}}`, fault: "jwt.issuers.leeway: write it as a string"},
		"consumers a string": {value: `{"apisix_consumers":"hunter2"}`, fault: "apisix_consumers: write it as true or false"},
		"unknown field":      {value: `{"key_cash_ttl":"hunter2"}`, fault: `unknown field "key_cash_ttl"`},
		"nothing":            {value: ``, fault: "not valid JSON"},
		"garbage":            {value: `hunter2`, fault: "not valid JSON"},
		"cut":                {value: `{"key_cache_ttl":"2s"`, fault: "not valid JSON"},
		"null":               {value: `null`, fault: "null"},
		"an array":           {value: `[]`, fault: "no JSON object"},
		"a string":           {value: `"{}"`, fault: "no JSON object"},
		"two objects":        {value: `{}{"hunter2":1}`, fault: "after the JSON object"},
		"garbage behind":     {value: `{} hunter2`, fault: "after the JSON object"},
		"a value with bytes": {value: "{\"\xff\x00\":1}", fault: "not valid JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := Parse([]byte(test.value))
			switch {
			case test.fault == "" && (err != nil || c.KeyCacheTTL != test.ttl):
				t.Fatalf("got %+v, %v", c, err)
			case test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)):
				t.Fatalf("got the error %v, want one with %q", err, test.fault)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Fatalf("the error repeats a value: %v", err)
			}
		})
	}
}

// FuzzParse: whatever stands in a route, Parse returns a usable configuration or a fault, and nothing in between.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{"key_cache_ttl":"2s"}`, `null`, `[]`, `{"a":1}`, `{"key_cache_ttl":1e9}`, "", "\x00",
		`{"apisix_consumers":true,"jwt":{"issuers":[{"issuer":"i","audience":"a","jwks_url":"https://i.example/","algorithms":["ES256"]}]}}`,
		`{"jwt":{"issuers":[{"issuer":"i","audience":"a","jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"eA"}]}}]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := Parse(value)
		if err != nil && c != (Config{}) {
			t.Fatalf("both a configuration and a fault: %+v, %v", c, err)
		}
		if c.KeyCacheTTL < 0 || c.KeyCacheTTL > maxKeyCacheTTL {
			t.Fatalf("key_cache_ttl is %s", c.KeyCacheTTL)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\n\r\x00") {
			t.Fatalf("the fault is more than a line: %q", err)
		}
	})
}
