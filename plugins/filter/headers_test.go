package filter_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/apisix-webhooks/apisix-webhooks/plugins/filter"
	"github.com/apisix-webhooks/apisix-webhooks/plugins/requesttest"
)

func TestAHundredHeadersAreRefusedSinceMoreCouldHideBehindThem(t *testing.T) {
	for count, refused := range map[int]bool{0: false, 99: false, 100: true, 101: true, 500: true} {
		r := requesttest.New(t, "GET", "/")
		for i := range count {
			r.Add(fmt.Sprintf("X-%d", i), "1")
		}
		if got := filter.CheckHeaders(r.Header().View()) != nil; got != refused {
			t.Errorf("%d headers: refused %t", count, got)
		}
	}
	repeated := http.Header{"X-A": slices.Repeat([]string{"1"}, 100)}
	if filter.CheckHeaders(repeated) == nil {
		t.Error("100 values of one header pass")
	}
}

func TestSeveralValuesOfAProtectedHeaderAreRefused(t *testing.T) {
	for name, refused := range map[string]bool{
		"apikey": true, "Authorization": true, "content-type": true, "x-webhook-statement": true, "X-Webhook-Pass": true,
		"X_Webhook_Pass": true, "x-consumer-id": true, "X-Credential-Identifier": true, "Accept": false, "X-Team": false,
	} {
		for _, values := range [][2]string{{"a", "b"}, {"a", "a"}, {"", "b"}} {
			r := requesttest.New(t, "GET", "/", name, values[0], name, values[1])
			if got := filter.CheckHeaders(r.Header().View()) != nil; got != refused {
				t.Errorf("%s twice: refused %t", name, got)
			}
		}
	}
}

func TestUnderscoreTwinsAreStrippedToo(t *testing.T) {
	r := requesttest.New(t, "GET", "/",
		"X-Webhook-Pass", "1", "X_Webhook_Pass", "2", "x_consumer-username", "3", "X-CONSUMER-ID", "4", "X-Credential_Identifier", "",
		"X-Team", "5", "Webhook-Id", "6")
	filter.StripInternal(r.Header())
	_, got := r.Upstream()
	if names := requesttest.Names(got); !slices.Equal(names, []string{"webhook-id", "x-team"}) {
		t.Fatalf("the upstream gets %v", names)
	}
}
