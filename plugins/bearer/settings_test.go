package bearer

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSettingsAreRefusedByField(t *testing.T) {
	good := IssuerSettings{Issuer: "https://id.example", Audience: "webhooks", JWKSURL: "https://id.example/jwks.json"}
	for name, c := range map[string]struct {
		change func(*IssuerSettings)
		fault  string
	}{
		"good":             {func(*IssuerSettings) {}, ""},
		"all of it":        {func(s *IssuerSettings) { s.Algorithms, s.Leeway, s.GrantsClaim = []string{"ES256"}, "2m", "scope" }, ""},
		"no issuer":        {func(s *IssuerSettings) { s.Issuer = "" }, "issuer is missing"},
		"no audience":      {func(s *IssuerSettings) { s.Audience = "" }, "audience is missing"},
		"no keys":          {func(s *IssuerSettings) { s.JWKSURL = "" }, "jwks_url or jwks"},
		"null keys":        {func(s *IssuerSettings) { s.JWKSURL, s.JWKS = "", json.RawMessage("null") }, "jwks_url or jwks"},
		"both kinds":       {func(s *IssuerSettings) { s.JWKS = json.RawMessage("{}") }, "jwks_url or jwks"},
		"no set":           {func(s *IssuerSettings) { s.JWKSURL, s.JWKS = "", json.RawMessage(`"hunter2"`) }, "jwks is no JWK Set"},
		"no keys in it":    {func(s *IssuerSettings) { s.JWKSURL, s.JWKS = "", json.RawMessage(`{"keys":[]}`) }, "jwks is no JWK Set"},
		"not a URL":        {func(s *IssuerSettings) { s.JWKSURL = "hunter2" }, "jwks_url"},
		"a file":           {func(s *IssuerSettings) { s.JWKSURL = "file:///etc/passwd" }, "jwks_url"},
		"credentials":      {func(s *IssuerSettings) { s.JWKSURL = "https://me:hunter2@id.example/" }, "jwks_url has credentials"},
		"no algorithms":    {func(s *IssuerSettings) { s.Algorithms = []string{} }, "algorithms"},
		"HS256":            {func(s *IssuerSettings) { s.Algorithms = []string{"RS256", "HS256"} }, "algorithms"},
		"none":             {func(s *IssuerSettings) { s.Algorithms = []string{"none"} }, "algorithms"},
		"twice":            {func(s *IssuerSettings) { s.Algorithms = []string{"RS256", "RS256"} }, "algorithms"},
		"no duration":      {func(s *IssuerSettings) { s.Leeway = "hunter2" }, "leeway"},
		"too much leeway":  {func(s *IssuerSettings) { s.Leeway = "121s" }, "leeway"},
		"negative leeway":  {func(s *IssuerSettings) { s.Leeway = "-1s" }, "leeway"},
		"a very long text": {func(s *IssuerSettings) { s.ConsumerPrefix = strings.Repeat("x", maxSetting+1) }, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := good
			c.change(&changed)
			_, err := (&Settings{[]IssuerSettings{changed}}).Check()
			switch {
			case (err == nil) != (c.fault == ""):
				t.Fatalf("got %v", err)
			case err != nil && (!strings.HasPrefix(err.Error(), "jwt.issuers[0].") || !strings.Contains(err.Error(), c.fault)):
				t.Fatalf("got %v", err)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Fatalf("a value is repeated: %v", err)
			}
		})
	}
	for _, issuers := range [][]IssuerSettings{nil, {good, good}, make([]IssuerSettings, maxIssuers+1)} {
		if _, err := (&Settings{issuers}).Check(); err == nil || !strings.HasPrefix(err.Error(), "jwt.issuers") {
			t.Errorf("%d issuers: %v", len(issuers), err)
		}
	}
}
