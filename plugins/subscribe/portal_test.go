package subscribe

import (
	"slices"
	"testing"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/internal/testkit"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

func TestAnybodyGetsThroughToThePortalAsNobodyWithTheirCookie(t *testing.T) {
	p, source, _ := unit(t, opens("subscribe"))
	for _, target := range []string{"/portal", "/portal/", "/portal/resources/orders/subscriptions/sub_1?done=made", "/portal/subscribe", "/portal/links/x"} {
		r := requesttest.New(t, "POST", target, "Cookie", "webhook-portal=x", "apikey", key, "X-Consumer-Username", "admin", "X-Webhook-Statement", "forged")
		if a := requesttest.Call(t, "{}", r, p); a != nil {
			t.Fatalf("%s is refused: %s", target, a.Body)
		}
		path, header := r.Upstream()
		if path != "/gateway"+target {
			t.Errorf("the upstream gets %s", path)
		}
		if names := requesttest.Names(header); !slices.Equal(names, []string{"cookie", "x-webhook-statement"}) {
			t.Errorf("the upstream gets %v", names)
		}
		caller, err := signer(t).VerifyCaller(header["x-webhook-statement"][0])
		if err != nil || caller.Consumer != "" || caller.Action != contract.ActionPublic || caller.Resource != caller.Path {
			t.Errorf("got %+v, %v", caller, err)
		}
	}
	if n := source.count(); n != 0 {
		t.Errorf("a key was looked up %d times", n)
	}
}

func TestThePortalIsTakenInOneSpellingOnly(t *testing.T) {
	p, _, _ := unit(t, opens("subscribe"))
	for _, raw := range []string{"/portal%2Flinks", "/portal/x/../links", "/portal//links", "/%70ortal/"} {
		if a := requesttest.Call(t, "{}", requesttest.New(t, "POST", raw), p); a == nil || a.Status != 400 {
			t.Errorf("%s: got %+v", raw, a)
		}
	}
}

// A link is made for a caller who is known, whatever its grants; a cookie tells nobody here.
func TestALinkToThePortalIsForWhoeverIsKnown(t *testing.T) {
	for _, w := range ways() {
		if w.name == "a JWT" {
			continue // its issuer narrows: see below
		}
		t.Run(w.name, func(t *testing.T) {
			s := setScene(t)
			s.consumer(t, "acme")
			a, caller := s.call(t, w, "acme", "POST", contract.PathPortalLinks, forged...)
			if a != nil || caller.Consumer != "con_acme" || caller.Action != contract.ActionPortal || caller.Resource != contract.PathPortalLinks {
				t.Errorf("got %+v, %+v", a, caller)
			}
			if a, _ := s.call(t, w, "nobody", "POST", contract.PathPortalLinks); a == nil || a.Status != 401 {
				t.Errorf("got %+v", a)
			}
			if a, _ := s.run(t, requesttest.New(t, "POST", contract.PathPortalLinks, "Cookie", "webhook-portal=x")); a == nil || a.Status != 401 {
				t.Errorf("got %+v", a)
			}
		})
	}
}

func TestATokenThatIsForLessThanItsConsumerMakesNoLink(t *testing.T) {
	s := setScene(t)
	s.consumer(t, "acme", "subscribe")
	token := s.issuer.Token(t, testkit.KeyEd, "acme", testkit.Part{"scope": everything})
	a, _ := s.run(t, requesttest.New(t, "POST", contract.PathPortalLinks, "Authorization", "Bearer "+token))
	if a == nil || a.Status != 403 {
		t.Errorf("got %+v", a)
	}
}
