package portal_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

const form = "application/x-www-form-urlencoded"

func cookieOf(t *testing.T, a answer, name string) *http.Cookie {
	t.Helper()
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no such cookie", "%s in %v", name, a.header)
	return nil
}

func TestALinkSignsInOnceAndLookingAtItDoesNotUseItUp(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	link := w.link(acme)
	b := w.stranger()
	for range 3 { // a preview in a chat, a scanner, the person
		require.Contains(t, b.get(link).body, "<strong>acme</strong>")
	}
	page := b.do("POST", link, "")
	require.Equal(t, "/portal/resources/orders/", page.url.Path, "the only resource's page: %s", page.body)
	require.Contains(t, page.body, "no subscription to orders")

	again := w.stranger()
	require.Equal(t, http.StatusGone, again.do("GET", link, "").status)
	require.Equal(t, http.StatusGone, again.do("POST", link, "").status)
	require.Equal(t, http.StatusUnauthorized, again.do("GET", w.gateway.URL+"/portal/resources/orders/", "").status)
}

func TestOfManyWhoUseALinkAtOnceOneIsSignedIn(t *testing.T) {
	w := newWorld(t)
	link := w.link(w.consumer("acme", "orders"))
	var in atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if w.stranger().still().do("POST", link, "").status == http.StatusSeeOther {
				in.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 1, in.Load())
}

func TestALinkHoldsForFiveMinutesAtItsOwnListener(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	link := w.link(acme)
	elsewhere := strings.Replace(link, w.gateway.URL, w.admin.URL, 1)
	require.Equal(t, http.StatusGone, w.stranger().do("POST", elsewhere, "").status, "a consumer's link at the admin listener")
	admins := w.asAdmin("POST", "/admin/v1/portal-links", "").field("url")
	require.Equal(t, http.StatusGone, w.stranger().do("POST", strings.Replace(admins, w.admin.URL, w.gateway.URL, 1), "").status, "an admin's link at the gateway")
	require.Equal(t, http.StatusOK, w.stranger().do("POST", admins, "").status, "neither was used up by that")

	w.clock.Advance(contract.PortalLinkLife)
	require.Equal(t, http.StatusGone, w.stranger().do("POST", link, "").status)
}

func TestASessionEndsAtTheLatestAfterEightHoursAndWithASignOut(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	b := w.signedIn(acme)
	w.clock.Advance(contract.PortalSessionLife - time.Second)
	page := b.get(w.gateway.URL + "/portal/resources/orders/")
	w.clock.Advance(time.Second)
	require.Equal(t, http.StatusUnauthorized, b.do("GET", page.url.String(), "").status)

	b = w.signedIn(acme)
	jar := b.Jar.Cookies(page.url)
	page = b.get(page.url.String())
	require.Contains(t, b.post(page, "/portal/sign-out", nil).body, "Sign in with a link")
	b.Jar.SetCookies(page.url, jar) // whoever kept the cookie has nothing
	require.Equal(t, http.StatusUnauthorized, b.do("GET", page.url.String(), "").status)
}

// The idle time is Redis's own clock.
func TestASessionThatIsNotUsedEnds(t *testing.T) {
	w := newWorld(t)
	user := contract.PortalUser{Actor: contract.Actor{Kind: contract.ActorConsumer, ID: "con_1"}, Door: contract.DoorGateway, Ends: w.clock.Now().Add(time.Hour)}
	token, err := w.store.CreatePortalSession(t.Context(), user, time.Minute)
	require.NoError(t, err)
	_, err = w.store.PortalSession(t.Context(), token, 20*time.Millisecond, w.clock.Now())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.store.PortalSession(t.Context(), token, time.Millisecond, w.clock.Now())
		return err != nil
	}, 5*time.Second, 10*time.Millisecond)
}

func TestSigningInTakesNoSessionOver(t *testing.T) {
	w := newWorld(t)
	b := w.stranger()
	at, err := url.Parse(w.gateway.URL)
	require.NoError(t, err)
	b.Jar.SetCookies(at, []*http.Cookie{{Name: "webhook-portal", Value: "chosen-by-somebody-else", Path: "/"}})
	first := cookieOf(t, b.still().do("POST", w.link(w.consumer("acme", "orders")), ""), "webhook-portal")
	require.NotEqual(t, "chosen-by-somebody-else", first.Value)
	require.Len(t, first.Value, 43, "256 bits")

	second := cookieOf(t, b.still().do("POST", w.link(w.consumer("other", "orders")), ""), "webhook-portal")
	require.NotEqual(t, first.Value, second.Value)
	b.Jar.SetCookies(at, []*http.Cookie{first})
	require.Equal(t, http.StatusUnauthorized, b.do("GET", w.gateway.URL+"/portal/resources/orders/", "").status, "the session before is over")
}

func TestWhoeverIsDeletedOrLosesAGrantIsOutAtOnce(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders", "users")
	b := w.signedIn(acme)
	b.get(w.gateway.URL + "/portal/resources/users/")
	require.Equal(t, 200, w.asAdmin("PATCH", "/admin/v1/consumers/"+acme, `{"grants":[{"resource":"orders","actions":["subscribe"]}]}`).status)
	require.Equal(t, http.StatusForbidden, b.do("GET", w.gateway.URL+"/portal/resources/users/", "").status)
	require.NotContains(t, b.get(w.gateway.URL+"/portal/resources/orders/").body, "users")
	require.Equal(t, 204, w.asAdmin("DELETE", "/admin/v1/consumers/"+acme, "").status)
	require.Equal(t, http.StatusUnauthorized, b.do("GET", w.gateway.URL+"/portal/resources/orders/", "").status)
	require.Equal(t, http.StatusNotFound, w.asAdmin("POST", "/admin/v1/consumers/"+acme+"/portal-links", "").status)
}

func TestASessionEndsWithTheKeyThatItsLinkWasMadeWith(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	key := w.asAdmin("POST", "/admin/v1/consumers/"+acme+"/keys", "").field("id")
	link := func() string {
		return w.stranger().do("POST", w.gateway.URL+"/portal/links", "", "apikey", acme, "X-Key-Of-The-Test", key).field("url")
	}
	b, unused, other := w.stranger(), link(), w.signedIn(acme)
	require.Equal(t, http.StatusOK, b.do("POST", link(), "").status)
	b.get(w.gateway.URL + "/portal/resources/orders/")
	require.Equal(t, 204, w.asAdmin("DELETE", "/admin/v1/consumers/"+acme+"/keys/"+key, "").status)
	require.Equal(t, http.StatusUnauthorized, b.do("GET", w.gateway.URL+"/portal/resources/orders/", "").status)
	require.Equal(t, http.StatusGone, w.stranger().do("POST", unused, "").status)
	other.get(w.gateway.URL + "/portal/resources/orders/") // of another credential
}

func TestAFormOfAnotherSiteOrSessionIsRefused(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	b := w.signedIn(acme)
	page := b.get(w.gateway.URL + "/portal/resources/orders/")
	other := w.signedIn(acme).get(page.url.String())
	require.NotEqual(t, page.csrf(), other.csrf())
	out := w.gateway.URL + "/portal/sign-out"
	for name, c := range map[string]struct {
		token   string
		headers []string
	}{
		"no token":                  {"", nil},
		"another session's token":   {other.csrf(), nil},
		"another site's form":       {page.csrf(), []string{"Sec-Fetch-Site", "cross-site"}},
		"a sibling's form":          {page.csrf(), []string{"Sec-Fetch-Site", "same-site"}},
		"an old browser's origin":   {page.csrf(), []string{"Origin", "https://evil.example"}},
		"a frame without an origin": {page.csrf(), []string{"Origin", "null"}},
	} {
		a := b.do("POST", out, url.Values{"csrf": {c.token}}.Encode(), append([]string{"Content-Type", form}, c.headers...)...)
		require.Equal(t, http.StatusForbidden, a.status, name)
	}
	b.get(page.url.String()) // still signed in
	require.Equal(t, http.StatusForbidden, w.stranger().do("POST", w.link(acme), "", "Sec-Fetch-Site", "cross-site").status, "nor does it sign in")
}

func TestEveryPageKeepsToItself(t *testing.T) {
	w := newWorld(t)
	b := w.signedIn(w.consumer("acme", "orders"))
	for _, page := range []string{"/portal/", "/portal/resources/orders/", "/portal/nowhere", "/portal/sign-in/x"} {
		for _, a := range []answer{b.do("GET", w.gateway.URL+page, ""), w.stranger().do("GET", w.admin.URL+page, "")} {
			policy := a.header.Get("Content-Security-Policy")
			require.Contains(t, policy, "default-src 'none'; script-src 'self'; style-src 'self';")
			require.Contains(t, policy, "frame-ancestors 'none'")
			require.NotContains(t, policy, "unsafe")
			require.Equal(t, []string{"DENY", "no-referrer", "nosniff", "no-store"}, []string{a.header.Get("X-Frame-Options"), a.header.Get("Referrer-Policy"),
				a.header.Get("X-Content-Type-Options"), a.header.Get("Cache-Control")})
			require.NotRegexp(t, `(?i)<script(>|[^>]*[^"]>[^<])|<style|\sstyle=|\son[a-z]+=|https?://[^"]*\.(js|css)`, a.body)
		}
	}
}

func TestCookiesAreForThePortalAlone(t *testing.T) {
	w := newWorld(t)
	c := cookieOf(t, w.stranger().still().do("POST", w.link(w.consumer("acme", "orders")), ""), "webhook-portal")
	require.True(t, c.HttpOnly)
	require.Equal(t, http.SameSiteStrictMode, c.SameSite)
	require.LessOrEqual(t, c.MaxAge, int((8*time.Hour)/time.Second))

	// The browser comes over https, which ends before us; the test's own address is put back.
	secure := newWorld(t, at(func(o *api.PortalOptions) { o.URL = "https://hooks.example/in" }), embeddable("https://app.example"))
	link := secure.link(secure.consumer("acme", "orders"))
	require.True(t, strings.HasPrefix(link, "https://hooks.example/in/portal/sign-in/"), link)
	a := secure.stranger().still().do("POST", strings.Replace(link, "https://hooks.example/in", secure.gateway.URL, 1), "")
	require.Equal(t, "/in/portal/", a.header.Get("Location"))
	require.Contains(t, a.header.Get("Content-Security-Policy"), "frame-ancestors https://app.example")
	require.Empty(t, a.header.Get("X-Frame-Options"))
	c = cookieOf(t, a, "__Host-webhook-portal")
	require.True(t, c.Secure && c.HttpOnly && c.Partitioned && c.SameSite == http.SameSiteNoneMode && c.Path == "/" && c.Domain == "", "%v", c)
}

func TestACookieOpensNothingOfTheAPI(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	b := w.signedIn(acme)
	require.Equal(t, http.StatusUnauthorized, b.do("GET", w.admin.URL+"/admin/v1/consumers", "").status)
	admin := w.signedInAdmin()
	require.Equal(t, http.StatusUnauthorized, admin.do("GET", w.admin.URL+"/admin/v1/consumers", "").status)
}

func TestAdminsHaveTheirPagesAtTheirOwnListenerUnlessTheGatewayIsOpened(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	require.Contains(t, w.signedInAdmin().get(w.admin.URL+"/portal/").body, "<h1>Overview</h1>")
	require.Equal(t, http.StatusNotFound, w.signedIn(acme).do("GET", w.gateway.URL+"/portal/admin/", "").status)
	require.Equal(t, http.StatusUnauthorized, w.stranger().do("GET", w.admin.URL+"/portal/admin/", "").status)

	opened := newWorld(t, at(func(o *api.PortalOptions) { o.AdminsAtGateway = true }))
	link := opened.asAdmin("POST", "/admin/v1/portal-links", "").field("url")
	require.True(t, strings.HasPrefix(link, opened.gateway.URL+"/"), link)
	b := opened.stranger()
	require.Contains(t, b.do("POST", link, "").body, "<h1>Overview</h1>")
	require.Equal(t, http.StatusNotFound, b.do("GET", opened.gateway.URL+"/portal/resources/orders/", "").status, "an admin is no consumer")
	require.Equal(t, http.StatusNotFound, opened.signedIn(opened.consumer("acme", "orders")).do("GET", opened.gateway.URL+"/portal/admin/", "").status)
}

func TestWithoutAPublicURLThereAreNoLinksForConsumers(t *testing.T) {
	w := newWorld(t, at(func(o *api.PortalOptions) { o.URL = "" }))
	acme := w.consumer("acme", "orders")
	for _, a := range []answer{w.asConsumer(acme, "POST", "/portal/links", ""), w.asAdmin("POST", "/admin/v1/consumers/"+acme+"/portal-links", "")} {
		require.Equal(t, http.StatusConflict, a.status)
		require.Contains(t, a.body, "WEBHOOK_PUBLIC_URL")
	}
}

func TestLinksSignInsAndSignOutsAreInTheAuditLogAndNoTokenIsAnywhere(t *testing.T) {
	w := newWorld(t)
	acme := w.consumer("acme", "orders")
	link := w.link(acme)
	b := w.stranger()
	in := b.still().do("POST", link, "")
	page := b.get(w.gateway.URL + "/portal/resources/orders/")
	b.post(page, "/portal/sign-out", nil)
	b.do("POST", w.asAdmin("POST", "/admin/v1/portal-links", "").field("url"), "")
	w.stranger().do("POST", link, "")

	log := w.asAdmin("GET", "/admin/v1/audit?limit=100", "").body
	for _, action := range []string{"create-portal-link", "portal-sign-in", "portal-sign-out", "create-admin-portal-link"} {
		require.Contains(t, log, `"action":"`+action+`"`)
	}
	require.Contains(t, log, `"from":"203.0.113.7"`)
	token := link[strings.LastIndexByte(link, '/')+1:]
	for _, secret := range []string{token, cookieOf(t, in, "webhook-portal").Value, page.csrf()} {
		require.NotContains(t, log, secret)
		require.NotContains(t, w.logs.String(), secret)
	}
}

func TestFilesAreKeptForGoodUnderAnAddressOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	page := w.stranger().get(w.gateway.URL + "/portal/")
	for _, part := range strings.Split(page.body, `"`) {
		if !strings.HasPrefix(part, "/portal/assets/") {
			continue
		}
		a := w.stranger().get(w.gateway.URL + part)
		require.Equal(t, "public, max-age=31536000, immutable", a.header.Get("Cache-Control"), part)
		require.NotEmpty(t, a.body)
	}
	require.Equal(t, http.StatusNotFound, w.stranger().do("GET", w.gateway.URL+"/portal/assets/0000/portal.css", "").status)
}
