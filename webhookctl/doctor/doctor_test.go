package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/apisix-webhooks/apisix-webhooks/internal/rabbit"
	"github.com/apisix-webhooks/apisix-webhooks/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server.URL
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"detail":%q}`, status, detail)
}

// well is a gateway as it should be.
func well(w http.ResponseWriter, r *http.Request) {
	for _, one := range routes {
		if r.Method == one.method && r.URL.Path == strings.SplitN(one.path, "?", 2)[0] {
			if r.Header.Get("apikey") == "good" {
				problem(w, http.StatusForbidden, "no grant")
				return
			}
			problem(w, one.want, "refused")
			return
		}
	}
	http.Error(w, `{"error_msg":"404 Route Not Found"}`, http.StatusNotFound)
}

func examine(t *testing.T, p Patient) []Check {
	t.Helper()
	p.Timeout = 2 * time.Second
	if p.Now == nil {
		p.Now = time.Now
	}
	return Examine(t.Context(), p)
}

func faults(checks []Check) (texts []string) {
	for _, c := range checks {
		if c.State == Fault || c.State == Warning {
			texts = append(texts, string(c.State)+" "+c.Area+" "+c.Name+": "+c.Detail+" → "+c.Fix)
		}
	}
	return texts
}

func TestNothingThatIsKnownIsNoFault(t *testing.T) {
	checks := examine(t, Patient{Services: []Service{{"a", "", "A_URL"}}})
	require.Equal(t, Fine, Worst(checks))
	for _, c := range checks {
		require.True(t, c.State == Skipped && c.Fix != "" || c.State == Fine, "%v", c)
	}
}

func TestAGatewayThatIsWell(t *testing.T) {
	checks := examine(t, Patient{GatewayURL: serve(t, well), Credential: http.Header{"Apikey": {"good"}}})
	require.Empty(t, faults(checks))
}

func TestAGatewaysFaultsAreToldApart(t *testing.T) {
	for name, c := range map[string]struct {
		break_ http.HandlerFunc
		want   string
	}{
		"no route":            {func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, "take the route events over from apisix-conf/apisix.yaml"},
		"no runner":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "the plugin runner does not answer"},
		"no upstream":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "can't reach the subscription service"},
		"no plugin":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, "the call passed without our plugin"},
		"another plugin":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "another plugin answers first"},
		"the plugin is stuck": {func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "no Redis") }, "look at Redis"},
		"another version":     {func(w http.ResponseWriter, _ *http.Request) { problem(w, 418, "?") }, "versions of gateway and runner may differ"},
	} {
		t.Run(name, func(t *testing.T) {
			found := faults(examine(t, Patient{GatewayURL: serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && r.URL.Path == "/orders/events" {
					c.break_(w, r)
					return
				}
				well(w, r)
			})}))
			require.Len(t, found, 1, "%v", found)
			require.Contains(t, found[0], c.want)
			require.Contains(t, found[0], "route events: POST /orders/events")
		})
	}
	found := faults(examine(t, Patient{GatewayURL: "http://127.0.0.1:1"}))
	require.Len(t, found, 1)
	require.Contains(t, found[0], "start the gateway")
	found = faults(examine(t, Patient{GatewayURL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/admin/") {
			return
		}
		well(w, r)
	}), Credential: http.Header{"Apikey": {"bad"}}}))
	require.Len(t, found, 2)
	require.Contains(t, found[0], "take the route that leads there off")
	require.Contains(t, found[1], "webhookctl keys create")
}

func TestTheAdminAPI(t *testing.T) {
	api := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer right" {
			problem(w, 401, "no")
			return
		}
		fmt.Fprint(w, `{"items":[]}`)
	})
	require.Contains(t, faults(examine(t, Patient{AdminURL: api, AdminToken: "wrong"}))[0], "WEBHOOK_ADMIN_TOKEN")
	require.Contains(t, faults(examine(t, Patient{AdminURL: api, AdminToken: "right"}))[0], "webhookctl resources put")
	require.Contains(t, faults(examine(t, Patient{AdminURL: serve(t, func(http.ResponseWriter, *http.Request) {})}))[0], "this is not the admin listener")
	require.Contains(t, faults(examine(t, Patient{AdminURL: "http://127.0.0.1:1"}))[0], "start the subscription service")
	late := func() time.Time { return time.Now().Add(-time.Minute) }
	require.Contains(t, strings.Join(faults(examine(t, Patient{AdminURL: api, AdminToken: "right", Now: late})), "\n"), "let NTP set the clocks")
}

func TestServicesSayWhatTheyLack(t *testing.T) {
	sick := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `{"process":"ok","redis":"asking Redis: refused"}`)
	})
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	fine := serve(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/readyz", r.URL.Path)
		fmt.Fprint(w, `{"process":"ok"}`)
	})
	found := faults(examine(t, Patient{Services: []Service{{"a", sick + "/metrics", "A"}, {"b", other + "/metrics", "B"}, {"c", fine + "/metrics", "C"}, {"d", "http://127.0.0.1:1/metrics", "D"}, {"e", "nonsense", "E"}}}))
	require.Len(t, found, 4)
	for i, want := range []string{"redis: asking Redis: refused", "mend B", "start it, or mend D", "E is no address"} {
		require.Contains(t, found[i], want)
	}
}

func TestFactsOfRedisAreJudged(t *testing.T) {
	e := &examination{}
	e.memory(store.Facts{Policy: "allkeys-lru", MaxMemory: 100 << 20, UsedMemory: 90 << 20})
	e.disk(store.Facts{Role: "slave"})
	e.disk(store.Facts{Role: "master", SaveFailed: "aof_last_write_status is err", AppendOnly: true})
	e.disk(store.Facts{Role: "master"})
	e.latency(time.Second)
	e.latency(50 * time.Millisecond)
	e.version("6.0.16", 6, 2)
	require.Equal(t, []State{Fault, Warning, Fault, Fault, Warning, Fault, Warning, Warning}, states(e))
	e = &examination{}
	e.memory(store.Facts{Policy: "noeviction"})
	e.memory(store.Facts{Policy: "noeviction", MaxMemory: 100, UsedMemory: 10})
	e.disk(store.Facts{Role: "master", AppendOnly: true})
	e.latency(time.Millisecond)
	e.version("6.2", 6, 2)
	e.version("7.0.1", 6, 2)
	require.Empty(t, faults(e.checks))
}

func states(e *examination) (all []State) {
	for _, c := range e.checks {
		all = append(all, c.State)
	}
	return all
}

func TestQueuesAreJudged(t *testing.T) {
	names := rabbit.NamesFor("")
	for _, c := range []struct {
		queue string
		o     rabbit.Object
		want  State
		fix   string
	}{
		{names.Dead, rabbit.Object{Messages: 3}, Warning, "webhookctl dead-letters list"}, {names.Dead, rabbit.Object{}, Fine, ""},
		{names.Events, rabbit.Object{Messages: 3}, Fault, "start event-listener"}, {names.Commands, rabbit.Object{}, Fault, "start callback-service"},
		{names.Commands, rabbit.Object{Consumers: 1, Messages: 20_000}, Warning, "run another callback-service"}, {names.Bulk, rabbit.Object{Consumers: 1}, Fine, ""},
	} {
		e := &examination{}
		c.o.Kind, c.o.Name = "queue", c.queue
		e.queue(c.o, names)
		require.Len(t, e.checks, 1, c.queue)
		require.Equal(t, c.want, e.checks[0].State, c.queue)
		require.Contains(t, e.checks[0].Fix, c.fix)
	}
}

func TestBindingsAreAskedOfTheManagementPlugin(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		require.Equal(t, "u p /api/bindings/%2F", user+" "+password+" "+r.URL.EscapedPath())
		fmt.Fprint(w, `[{"source":"a","destination":"b","routing_key":"#"}]`)
	})
	e := &examination{}
	p := Patient{AMQPURL: "amqp://h/", ManagementURL: strings.Replace(url, "http://", "http://u:p@", 1), Timeout: time.Second}
	e.bindings(t.Context(), p, rabbit.Inspection{Bindings: []rabbit.Binding{{Exchange: "a", Queue: "b", Key: "#"}, {Exchange: "c", Queue: "d", Key: "e"}}})
	require.Len(t, e.checks, 1)
	require.Contains(t, e.checks[0].Detail, "c → d, key e is not there")
	require.Equal(t, "v/w", vhost("amqp://h/v%2Fw"))
}

func TestSettingsAreJudged(t *testing.T) {
	strong := "f3a9c1d07be24586" + "90acbd1e7f264835" + "1d7e0b9c4f2a8635"
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.WriteFile(open, []byte(strong), 0o644))
	for name, c := range map[string]struct {
		env  map[string]string
		want string // "" for none
	}{
		"misspelt":         {map[string]string{"WEBHOOK_RETRY_SHEDULE": "1s"}, "did you mean WEBHOOK_RETRY_SCHEDULE?"},
		"another one's":    {map[string]string{"WEBHOOK_ZZZZZZZZZZZZZZ": "1"}, "nothing reads it"},
		"a short key":      {map[string]string{"WEBHOOK_GATEWAY_KEY": "short-key-of-mine"}, "give at least 32"},
		"an easy key":      {map[string]string{"WEBHOOK_CALLBACK_KEY": strings.Repeat("a", 64)}, "is easy to guess"},
		"a key to read":    {map[string]string{"WEBHOOK_GATEWAY_KEY_FILE": open}, "chmod 600"},
		"a ring of a word": {map[string]string{"WEBHOOK_KEYRING": "k1:short-key-of-mine"}, "openssl rand -base64 32"},
		"a short token":    {map[string]string{"WEBHOOK_ADMIN_TOKEN": "short-key-of-mine"[:10]}, "WEBHOOK_ADMIN_TOKEN"},
		"no address":       {map[string]string{"WEBHOOK_PUBLIC_URL": "hooks.example.com"}, "write it as https://"},
		"another server":   {map[string]string{"WEBHOOK_PUBLIC_URL": serve(t, func(http.ResponseWriter, *http.Request) {})}, "does not lead to the gateway"},
		"all is well": {map[string]string{"WEBHOOK_GATEWAY_KEY": strong, "WEBHOOK_ADMIN_TOKEN": strong, "WEBHOOK_API_KEY": "k", "WEBHOOK_REDIS_CA": "/a",
			"WEBHOOK_GATEWAY_PORT": "1", "WEBHOOK_PUBLIC_URL": serve(t, well), "HOME": "/", "WEBHOOK_KEYRING": "k1:" + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			checks := examine(t, Patient{Environment: c.env})
			found := strings.Join(faults(checks), "\n")
			if c.want == "" {
				require.Empty(t, found)
			}
			require.Contains(t, found, c.want)
			require.NotContains(t, found, "short-key-of-mine")
		})
	}
}
