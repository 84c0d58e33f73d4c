package config

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func environment(values map[string]string) *Environment {
	return NewEnvironment(func(name string) (string, bool) { v, ok := values[name]; return v, ok })
}

func TestSubstitutionInText(t *testing.T) {
	tests := map[string]struct{ in, want, wantErr string }{
		"set":                    {in: "a: ${{SET}}", want: "a: value"},
		"set wins over default":  {in: "${{SET:=other}}", want: "value"},
		"default":                {in: "${{UNSET:=127.0.0.1:9280}}", want: "127.0.0.1:9280"},
		"empty default":          {in: "[${{UNSET:=}}]", want: "[]"},
		"empty value is a value": {in: "[${{EMPTY:=x}}]", want: "[]"},
		"spaces, which APISIX counts to the name": {in: "${{ SET := a b }}", want: "a b"},
		"two":                  {in: "${{SET}}-${{UNSET:=d}}", want: "value-d"},
		"in a key":             {in: `"${{UNSET:=h:1}}": 1`, want: `"h:1": 1`},
		"nginx variable stays": {in: "$host ${host}", want: "$host ${host}"},
		"missing":              {in: "${{UNSET}}", wantErr: "environment variable UNSET is not set"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := environment(map[string]string{"SET": "value", "EMPTY": ""}).Text(tc.in)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestSubstitutionInTree(t *testing.T) {
	env := environment(map[string]string{"PORT": "9080", "ON": "true", "OFF": "false", "F": "1.5", "S": "text"})
	got, err := env.Tree(map[string]any{
		"port": "${{PORT}}", "on": "${{ON}}", "off": "${{OFF}}", "float": "${{F}}", "s": "${{S}}",
		"literal": "9080", "part": "x${{PORT}}", "${{S}}": []any{"${{PORT}}", 7},
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"port": 9080, "on": true, "off": false, "float": 1.5, "s": "text",
		"literal": "9080", "part": "x9080", "text": []any{9080, 7},
	}, got)
	assert.ElementsMatch(t, []string{"PORT", "ON", "OFF", "F", "S"}, env.Used())
	_, err = env.Tree([]any{map[string]any{"a": "${{NOPE}}"}})
	require.ErrorContains(t, err, "NOPE")
}

func FuzzSubstitution(f *testing.F) {
	f.Add("a ${{SET:=x}} ${{")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = environment(map[string]string{"SET": "v"}).Text(text)
	})
}

const goodStatic = `
apisix:
  node_listen: [{ip: 127.0.0.1, port: 9080}]
  enable_server_tokens: false
  enable_control: false
  ssl: {enable: false}
deployment: {role: data_plane, role_data_plane: {config_provider: yaml}}
ext-plugin: {cmd: [runner]}
nginx_config:
  envs: [REDIS_URL, A=b]
  http: {client_max_body_size: 16m, client_header_timeout: 15s, client_body_timeout: 1500ms, send_timeout: 20s, keepalive_timeout: 30}
  http_configuration_snippet: |
    client_body_buffer_size 1m;
    large_client_header_buffers 4 8k;
plugins: [request-id]
`

func TestStatic(t *testing.T) {
	s, err := ParseStatic([]byte(goodStatic), environment(nil))
	require.NoError(t, err)
	assert.Equal(t, []string{"127.0.0.1:9080"}, s.Listen)
	assert.Equal(t, "127.0.0.1:9091", s.Metrics)
	assert.Equal(t, int64(16<<20), s.MaxBody)
	assert.Equal(t, "15s 1.5s", s.HeaderTimeout.String()+" "+s.BodyTimeout.String())
	assert.Equal(t, "20s 30s", s.SendTimeout.String()+" "+s.Keepalive.String())
	assert.Equal(t, []string{"REDIS_URL", "A=b"}, s.RunnerEnv)
}

// change is one replacement in a good file.
type change struct{ old, new, want string }

func TestStaticRefuses(t *testing.T) {
	tests := map[string]change{
		"unknown root":       {"plugins:", "plugin: []\nplugins:", "plugin"},
		"unknown nested":     {"envs:", "worker_processes: 2\n  envs:", "'nginx_config' has invalid keys: worker_processes"},
		"unknown http":       {"{client_max_body_size", "{lua_shared_dict: 1s, client_max_body_size", "'nginx_config.http' has invalid keys: lua_shared_dict"},
		"unknown in list":    {"port: 9080", "port: 9080, enable_http2: true", "'apisix.node_listen[0]' has invalid keys: enable_http2"},
		"case counts":        {"enable_control", "Enable_control", "Enable_control"},
		"server tokens":      {"enable_server_tokens: false", "enable_server_tokens: true", "apisix.enable_server_tokens must be false"},
		"control missing":    {"  enable_control: false\n", "", "apisix.enable_control must be false"},
		"ssl":                {"{enable: false}", "{enable: true}", "apisix.ssl.listen is missing"},
		"ssl without a word": {"{enable: false}", "{}", "apisix.ssl.enable is missing"},
		"ssl port":           {"{enable: false}", "{enable: true, listen: [{ip: 127.0.0.1, port: -1}]}", "apisix.ssl.listen[0].port"},
		"nobody to believe":  {"client_body_buffer_size 1m;", "proxy_ssl_verify on;", "apisix.ssl.ssl_trusted_certificate is missing"},
		"role":               {"role: data_plane,", "role: traditional,", "deployment.role"},
		"provider":           {"config_provider: yaml", "config_provider: etcd", "config_provider"},
		"no command":         {"{cmd: [runner]}", "{}", "ext-plugin.cmd is missing"},
		"no listen":          {"[{ip: 127.0.0.1, port: 9080}]", "[]", "apisix.node_listen is missing"},
		"listen ip":          {"ip: 127.0.0.1", "ip: localhost", "apisix.node_listen[0].ip"},
		"listen port":        {"port: 9080", "port: 90800", "apisix.node_listen[0].port"},
		"port as text":       {"port: 9080", "port: '9080'", "apisix.node_listen[0].port"},
		"size":               {"16m", "16x", "nginx_config.http.client_max_body_size"},
		"huge size":          {"16m", "9999999999999g", "nginx_config.http.client_max_body_size"},
		"time":               {"15s", "soon", "nginx_config.http.client_header_timeout"},
		"snippet":            {"client_body_buffer_size 1m;", "client_body_buffer_size 1m; lua_code_cache off;", "http_configuration_snippet"},
		"longer headers":     {"buffers 4 8k", "buffers 8 16k", "http_configuration_snippet"},
		"send time":          {"20s", "soon", "nginx_config.http.send_timeout"},
		"keepalive time":     {"keepalive_timeout: 30", "keepalive_timeout: -1", "nginx_config.http.keepalive_timeout"},
		"log level":          {"  envs:", "  error_log_level: loud\n  envs:", "error_log_level"},
		"env without name":   {"A=b", "=b", "nginx_config.envs[1]"},
		"missing variable":   {"cmd: [runner]", `cmd: ["${{RUNNER}}"]`, "RUNNER"},
		"no YAML":            {"apisix:", "apisix: [", "parsing YAML"},
		"key twice":          {"plugins:", "plugins: []\nplugins:", "already defined"},
		"not a mapping":      {goodStatic, "- a", "must be a mapping"},
		"two faults at once": {"[{ip: 127.0.0.1, port: 9080}]", "[{ip: x, port: 1}, {ip: 1.1.1.1, port: -1}]", "apisix.node_listen[0].ip is \"x\": give an IP address\napisix.node_listen[1].port"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodStatic, tc.old)
			_, err := ParseStatic([]byte(strings.Replace(goodStatic, tc.old, tc.new, 1)), environment(nil))
			require.ErrorContains(t, err, tc.want)
		})
	}
}

const goodRules = `
upstreams:
  - {id: up, type: roundrobin, nodes: {"${{NODE:=127.0.0.1:8081}}": 1}}
plugin_configs:
  - id: both
    plugins: {limit-count: {count: 1}, request-id: {}}
global_rules:
  - id: all
    plugins: {prometheus: {}}
routes:
  - id: r
    name: n
    uri: /a/*
    methods: [GET]
    vars: [["uri", "~~", "^/a"]]
    timeout: {connect: 2, send: 15, read: 0.5}
    upstream_id: up
    plugin_config_id: both
    plugins: {limit-count: {count: 2}}
consumers:
  - {username: acme_1, plugins: {key-auth: {key: "${{KEY:=k}}"}}}
#END
`

func TestRules(t *testing.T) {
	r, err := ParseRules([]byte(goodRules), environment(map[string]string{"NODE": "h:1"}))
	require.NoError(t, err)
	require.Len(t, r.Routes, 1)
	got := r.Routes[0]
	assert.Equal(t, "h:1", got.Upstream.Node)
	assert.Equal(t, "500ms", got.Timeout.Read.String())
	assert.Equal(t, []Var{{"uri", "~~", "^/a"}}, got.Vars)
	assert.Equal(t, []Plugin{
		{"limit-count", "routes[0].plugins.limit-count", map[string]any{"count": 2}},
		{"request-id", "plugin_configs[0].plugins.request-id", map[string]any{}},
	}, got.Plugins, "the route's own plugin wins")
	assert.Equal(t, "prometheus", r.Global[0].Name)
	assert.Equal(t, []Consumer{{"acme_1", []Plugin{{"key-auth", "consumers[0].plugins.key-auth", map[string]any{"key": "k"}}}}}, r.Consumers)
}

func TestRulesRefuse(t *testing.T) {
	tests := map[string]change{
		"no end mark":      {"#END\n", "", "#END"},
		"text after end":   {"#END\n", "#END\nroutes: []", "#END"},
		"unknown root":     {"routes:", "services: []\nroutes:", "services"},
		"unknown in route": {"    uri:", "    hosts: []\n    uri:", "'routes[0]' has invalid keys: hosts"},
		"unknown timeout":  {"{connect: 2,", "{idle: 2, connect: 2,", "'routes[0].timeout' has invalid keys: idle"},
		"half a timeout":   {"connect: 2, ", "", "routes[0].timeout"},
		"unknown upstream": {"upstream_id: up", "upstream_id: down", `routes[0].upstream_id "down"`},
		"unknown config":   {"plugin_config_id: both", "plugin_config_id: none", `routes[0].plugin_config_id "none"`},
		"balancer":         {"roundrobin", "chash", "upstreams[0].type"},
		"retries":          {"type: roundrobin", "retries: 1", "upstreams[0].retries"},
		"pass_host":        {"type: roundrobin", "pass_host: rewrite", "upstreams[0].pass_host"},
		"scheme":           {"type: roundrobin", "scheme: grpc", "upstreams[0].scheme"},
		"tls without TLS":  {"type: roundrobin", "tls: {client_cert: x}", "upstreams[0].tls"},
		"TLS to whoever":   {"type: roundrobin", "scheme: https", "upstreams[0].pass_host must be node"},
		"a bad key":        {"type: roundrobin", "scheme: https, pass_host: node, tls: {client_cert: hunter2, client_key: hunter2}", "upstreams[0].tls: client_cert and client_key"},
		"a bad ssl":        {"upstreams:", "ssls: [{id: a, snis: [x.example], cert: hunter2, key: hunter2}]\nupstreams:", "ssls[0]: cert and key"},
		"an ssl of nobody": {"upstreams:", "ssls: [{cert: hunter2}]\nupstreams:", "ssls[0]: id is missing\nsnis is missing"},
		"a bad authority":  {"upstreams:", "ssls: [{id: a, sni: a, client: {ca: hunter2}}]\nupstreams:", "client.ca has no certificate"},
		"two nodes":        {": 1}}", `: 1, "b:2": 1}}`, "upstreams[0].nodes has 2 entries"},
		"node":             {"127.0.0.1:8081", "127.0.0.1", "upstreams[0].nodes"},
		"weight":           {": 1}}", ": 0}}", "upstreams[0].nodes"},
		"uri pattern":      {"/a/*", "/*/b", "routes[0].uri"},
		"uri star":         {"/a/*", "/a*", "routes[0].uri"},
		"uri parameter":    {"/a/*", "/:a/b", "routes[0].uri"},
		"uri relative":     {"/a/*", "a", "routes[0].uri"},
		"method":           {"[GET]", "[get]", "routes[0].methods[0]"},
		"vars":             {`["uri", "~~", "^/a"]`, `["uri", "~~"]`, "routes[0].vars[0]"},
		"vars not":         {`["uri", "~~", "^/a"]`, `["uri", "!", "~~", "^/a"]`, "routes[0].vars[0]"},
		"username":         {"acme_1", "acme corp", "consumers[0].username"},
		"unknown consumer": {"username: acme_1,", "username: acme_1, group_id: g,", "'consumers[0]' has invalid keys: group_id"},
		"no id":            {"id: r\n", "id: ''\n", "routes[0].id is missing"},
		"missing variable": {"${{NODE:=127.0.0.1:8081}}", "${{GONE}}", "GONE"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, goodRules, tc.old)
			_, err := ParseRules([]byte(strings.Replace(goodRules, tc.old, tc.new, 1)), environment(nil))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestRulesTellEveryFault(t *testing.T) {
	text := strings.NewReplacer("upstream_id: up", "upstream_id: x", "uri: /a/*", "uri: a", "[GET]", "[FETCH]").Replace(goodRules)
	_, err := ParseRules([]byte(text), environment(nil))
	for _, want := range []string{"upstream_id", "uri", "methods[0]"} {
		require.ErrorContains(t, err, want)
	}
}

func TestSameIDTwice(t *testing.T) {
	route := goodRules[strings.Index(goodRules, "  - id: r\n"):strings.Index(goodRules, "consumers:")]
	_, err := ParseRules([]byte(strings.Replace(goodRules, "consumers:", route+"consumers:", 1)), environment(nil))
	require.ErrorContains(t, err, `routes[1].id "r" is used twice`)
}

func TestSameUsernameTwice(t *testing.T) {
	_, err := ParseRules([]byte(strings.Replace(goodRules, "#END", "  - {username: acme_1}\n#END", 1)), environment(nil))
	require.ErrorContains(t, err, `consumers[1].username "acme_1"`)
}

func TestWatcherSeesEachChangeOnce(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) { require.NoError(t, os.WriteFile(RulesFile(dir), []byte(text), 0o600)) }
	write("one")
	w := Watch(dir)
	changed := func() string {
		text, err := w.Changed()
		require.NoError(t, err)
		return string(text)
	}
	assert.Empty(t, changed())
	write("two")
	assert.Equal(t, "two", changed())
	assert.Empty(t, changed())
	require.NoError(t, os.Remove(RulesFile(dir)))
	_, err := w.Changed()
	require.Error(t, err)
}
