package subscribe

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

// linkSigner has another key than the one of statements about callers.
func linkSigner(t testing.TB) *contract.Signer {
	t.Helper()
	s, err := contract.NewSigner([]byte(strings.Repeat("l", contract.MinKeyBytes)), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var link = contract.ConsentLink{Subscription: "sub_1", Round: "ask_1"}

func linkToken(t *testing.T, by *contract.Signer) string {
	t.Helper()
	token, err := by.SignLink(link)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func nobody(string, string) (store.Access, error) {
	return store.Access{}, errors.New("nobody is looked up")
}

func TestALinkForALateConsentNeedsNoKeyAndIsVouchedForByAStatementOfItsOwn(t *testing.T) {
	p, s, _ := unit(t, nobody)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		token := linkToken(t, linkSigner(t))
		r := requesttest.New(t, method, contract.ConsentPath+"/"+token+"?rate=60", "WebHook-Allowed-Rate", "60", "apikey", "k", "X-Consumer-Username", "admin",
			contract.HeaderStatement, "forged")
		if a := requesttest.Call(t, "{}", r, p); a != nil {
			t.Fatalf("refused: %s", a.Body)
		}
		path, header := r.Upstream()
		if path != "/gateway/-/consent?rate=60" {
			t.Errorf("the upstream gets %s", path)
		}
		if names := requesttest.Names(header); !slices.Equal(names, []string{"webhook-allowed-rate", "x-webhook-statement"}) {
			t.Errorf("the upstream gets %v", names)
		}
		stated := header["x-webhook-statement"][0]
		if got, err := signer(t).VerifyConsent(stated); err != nil || got.Subscription != link.Subscription || got.Round != link.Round {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := signer(t).VerifyCaller(stated); err == nil {
			t.Error("it passes for a statement about a caller")
		}
	}
	if s.count() != 0 {
		t.Error("a key was looked up")
	}
}

func TestWithoutAValidLinkThereIsNoConsent(t *testing.T) {
	late, err := contract.NewSigner([]byte(strings.Repeat("l", contract.MinKeyBytes)), func() time.Time { return time.Now().Add(-25 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	callback, err := linkSigner(t).SignCallback(contract.Callback{Target: "https://a.example", Subscription: "sub_1", Delivery: "dlv_1"})
	if err != nil {
		t.Fatal(err)
	}
	valid := linkToken(t, linkSigner(t))
	for name, c := range map[string]struct {
		method, path string
		status       int
	}{
		"no token":                      {http.MethodGet, contract.ConsentPath, 403},
		"an empty token":                {http.MethodGet, contract.ConsentPath + "/", 403},
		"no token at all":               {http.MethodGet, contract.ConsentPath + "/sub_1", 403},
		"signed by another key":         {http.MethodGet, contract.ConsentPath + "/" + linkToken(t, signer(t)), 403},
		"expired":                       {http.MethodGet, contract.ConsentPath + "/" + linkToken(t, late), 403},
		"the statement of a callback":   {http.MethodGet, contract.ConsentPath + "/" + callback, 403},
		"something behind the token":    {http.MethodGet, contract.ConsentPath + "/" + valid + "/x", 403},
		"a path that reads in two ways": {http.MethodGet, contract.ConsentPath + "/" + valid + "/.", 400},
		"an encoded path":               {http.MethodGet, contract.ConsentPath + "%2F" + valid, 400},
		"another method":                {http.MethodDelete, contract.ConsentPath + "/" + valid, 405},
	} {
		t.Run(name, func(t *testing.T) {
			p, _, _ := unit(t, nobody)
			a := requesttest.Call(t, "{}", requesttest.New(t, c.method, c.path), p)
			if a == nil || a.Status != c.status {
				t.Fatalf("got %+v", a)
			}
			if strings.Contains(string(a.Body), valid) {
				t.Error("the answer holds the token")
			}
		})
	}
}
