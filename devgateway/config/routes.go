package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Rules is apisix.yaml, checked: routes whose upstream and plugins are resolved.
type Rules struct {
	Routes    []Route
	Consumers []Consumer
	SSLs      []SSL
	// Global is the plugins of all global rules: they run on every call, matched or not.
	Global []Plugin
}

// Route is one route with everything it refers to.
type Route struct {
	ID, Name, URI string
	Methods       []string // empty: all
	Priority      int      // among routes with the same URI, the highest is tried first
	Vars          []Var
	Timeout       Timeout
	Upstream      Upstream
	Plugins       []Plugin // its own, and those of its plugin_config that it does not override; by name
}

// Consumer is somebody whom a plugin of APISIX can tell, with what it needs for that.
type Consumer struct {
	Username string
	Plugins  []Plugin
}

// Var is one condition on a variable of the request.
type Var struct{ Name, Operator, Value string }

// Plugin is a plugin's name and its configuration as written, with the path of it for messages.
type Plugin struct {
	Name, Path string
	Raw        any
}

// Timeout is the timeouts towards an upstream: to connect, between two writes, between two reads.
type Timeout struct{ Connect, Send, Read time.Duration }

// defaultTimeout is what APISIX uses for an upstream without its own.
var defaultTimeout = Timeout{Connect: time.Minute, Send: time.Minute, Read: time.Minute}

type rulesFile struct {
	Upstreams     []upstreamFile `yaml:"upstreams"`
	PluginConfigs []pluginSet    `yaml:"plugin_configs"`
	GlobalRules   []pluginSet    `yaml:"global_rules"`
	Routes        []routeFile    `yaml:"routes"`
	Consumers     []consumerFile `yaml:"consumers"`
	SSLs          []sslFile      `yaml:"ssls"`
}

type consumerFile struct {
	Username string         `yaml:"username"`
	Plugins  map[string]any `yaml:"plugins"`
}

type upstreamFile struct {
	ID       string         `yaml:"id"`
	Type     string         `yaml:"type"`
	Retries  int            `yaml:"retries"`
	PassHost string         `yaml:"pass_host"`
	Scheme   string         `yaml:"scheme"`
	TLS      clientFile     `yaml:"tls"`
	Nodes    map[string]int `yaml:"nodes"`
}

type pluginSet struct {
	ID      string         `yaml:"id"`
	Plugins map[string]any `yaml:"plugins"`
}

type routeFile struct {
	ID             string         `yaml:"id"`
	Name           string         `yaml:"name"`
	URI            string         `yaml:"uri"`
	Methods        []string       `yaml:"methods"`
	Priority       int            `yaml:"priority"`
	Vars           [][]string     `yaml:"vars"`
	Timeout        *timeoutFile   `yaml:"timeout"`
	UpstreamID     string         `yaml:"upstream_id"`
	PluginConfigID string         `yaml:"plugin_config_id"`
	Plugins        map[string]any `yaml:"plugins"`
}

type timeoutFile struct {
	Connect float64 `yaml:"connect"`
	Send    float64 `yaml:"send"`
	Read    float64 `yaml:"read"`
}

// RulesFile is the path of apisix.yaml in the configuration directory.
func RulesFile(dir string) string { return filepath.Join(dir, "apisix.yaml") }

// ReadRules reads apisix.yaml in dir.
func ReadRules(dir string, env *Environment) (*Rules, error) {
	text, err := os.ReadFile(RulesFile(dir))
	if err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	return ParseRules(text, env)
}

// endMark must close the file: without it APISIX takes it as half written.
var endMark = regexp.MustCompile(`#END\s*$`)

// ParseRules is ReadRules for the text of the file. Variables are replaced before the YAML is parsed. Its error
// lists every fault.
func ParseRules(text []byte, env *Environment) (*Rules, error) {
	if !endMark.Match(text[max(0, len(text)-10):]) {
		return nil, errors.New("apisix.yaml: the last line must be #END")
	}
	resolved, err := env.Text(string(text))
	if err != nil {
		return nil, fmt.Errorf("apisix.yaml: %w", err)
	}
	doc, err := parse([]byte(resolved))
	if err != nil {
		return nil, fmt.Errorf("apisix.yaml: %w", err)
	}
	file := rulesFile{}
	if err := Strict("apisix.yaml", doc, &file); err != nil {
		return nil, err
	}
	return file.resolve()
}

func (f *rulesFile) resolve() (*Rules, error) {
	nodes, nodeErr := f.nodes()
	sets, setErr := f.pluginConfigs()
	consumers, consumerErr := f.consumers()
	ssls, sslErr := f.ssls()
	rules := &Rules{Consumers: consumers, SSLs: ssls}
	errs := []error{nodeErr, setErr, consumerErr, sslErr}
	for i := range f.GlobalRules {
		path := fmt.Sprintf("global_rules[%d].plugins", i)
		rules.Global = append(rules.Global, plugins(path, f.GlobalRules[i].Plugins)...)
	}
	seen := map[string]bool{}
	for i := range f.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		route, err := f.Routes[i].resolve(path, nodes, sets)
		if seen[route.ID] {
			err = errors.Join(err, fmt.Errorf("%s.id %q is used twice", path, route.ID))
		}
		seen[route.ID] = true
		errs = append(errs, err)
		rules.Routes = append(rules.Routes, route)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("apisix.yaml: %w", err)
	}
	return rules, nil
}

func (f *rulesFile) nodes() (map[string]Upstream, error) {
	nodes := map[string]Upstream{}
	var errs []error
	for i, u := range f.Upstreams {
		path := fmt.Sprintf("upstreams[%d]", i)
		upstream, err := u.node(path)
		errs = append(errs, err, u.secure(path, &upstream))
		nodes[u.ID] = upstream
	}
	return nodes, errors.Join(errs...)
}

func (u *upstreamFile) node(path string) (Upstream, error) {
	switch {
	case u.ID == "":
		return Upstream{}, fmt.Errorf("%s.id is missing", path)
	case u.Type != "" && u.Type != "roundrobin":
		return Upstream{}, fmt.Errorf("%s.type is %q: devgateway knows roundrobin only", path, u.Type)
	case u.PassHost != "" && u.PassHost != "pass" && u.PassHost != "node":
		return Upstream{}, fmt.Errorf("%s.pass_host is %q: devgateway knows pass and node only", path, u.PassHost)
	case u.Retries != 0:
		return Upstream{}, fmt.Errorf("%s.retries is %d: devgateway has one node per upstream and never retries", path, u.Retries)
	case len(u.Nodes) != 1:
		return Upstream{}, fmt.Errorf("%s.nodes has %d entries: devgateway takes one", path, len(u.Nodes))
	}
	for node, weight := range u.Nodes {
		if _, port, err := net.SplitHostPort(node); err != nil || port == "" || weight <= 0 {
			return Upstream{}, fmt.Errorf("%s.nodes: %q: %d is not a host:port with a weight above 0", path, node, weight)
		}
		return Upstream{Node: node, HostOfNode: u.PassHost == "node"}, nil
	}
	return Upstream{}, nil
}

func (f *rulesFile) pluginConfigs() (map[string][]Plugin, error) {
	sets := map[string][]Plugin{}
	for i, set := range f.PluginConfigs {
		if set.ID == "" {
			return nil, fmt.Errorf("plugin_configs[%d].id is missing", i)
		}
		sets[set.ID] = plugins(fmt.Sprintf("plugin_configs[%d].plugins", i), set.Plugins)
	}
	return sets, nil
}

var username = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

func (f *rulesFile) consumers() ([]Consumer, error) {
	var list []Consumer
	seen := map[string]bool{}
	for i, c := range f.Consumers {
		path := fmt.Sprintf("consumers[%d]", i)
		if !username.MatchString(c.Username) || seen[c.Username] {
			return nil, fmt.Errorf("%s.username %q must be letters, digits, - and _, and nobody else's", path, c.Username)
		}
		seen[c.Username] = true
		list = append(list, Consumer{c.Username, plugins(path+".plugins", c.Plugins)})
	}
	return list, nil
}

// plugins is sorted by name: an order that does not depend on the map.
func plugins(path string, set map[string]any) []Plugin {
	var list []Plugin
	for _, name := range slices.Sorted(maps.Keys(set)) {
		list = append(list, Plugin{Name: name, Path: path + "." + name, Raw: set[name]})
	}
	return list
}

func (r *routeFile) resolve(path string, nodes map[string]Upstream, sets map[string][]Plugin) (Route, error) {
	route := Route{ID: r.ID, Name: r.Name, URI: r.URI, Methods: r.Methods, Priority: r.Priority, Timeout: r.Timeout.durations(), Upstream: nodes[r.UpstreamID]}
	route.Plugins = plugins(path+".plugins", r.Plugins)
	for _, p := range sets[r.PluginConfigID] {
		if _, own := r.Plugins[p.Name]; !own {
			route.Plugins = append(route.Plugins, p)
		}
	}
	var errs []error
	if r.ID == "" {
		errs = append(errs, fmt.Errorf("%s.id is missing", path))
	}
	if _, ok := nodes[r.UpstreamID]; !ok {
		errs = append(errs, fmt.Errorf("%s.upstream_id %q is no upstream of this file", path, r.UpstreamID))
	}
	if _, ok := sets[r.PluginConfigID]; !ok && r.PluginConfigID != "" {
		errs = append(errs, fmt.Errorf("%s.plugin_config_id %q is no plugin_config of this file", path, r.PluginConfigID))
	}
	vars, err := r.vars(path)
	route.Vars = vars
	errs = append(errs, err, r.checkURI(path), r.checkMethods(path), r.Timeout.check(path))
	return route, errors.Join(errs...)
}

func (r *routeFile) vars(path string) ([]Var, error) {
	var vars []Var
	for i, v := range r.Vars {
		if len(v) != 3 {
			return nil, fmt.Errorf("%s.vars[%d] must be [variable, operator, value]", path, i)
		}
		vars = append(vars, Var{v[0], v[1], v[2]})
	}
	return vars, nil
}

// checkURI refuses patterns other than an exact path and a prefix: APISIX has more, the files use none.
func (r *routeFile) checkURI(path string) error {
	exact := strings.TrimSuffix(r.URI, "*")
	switch {
	case !strings.HasPrefix(r.URI, "/"):
		return fmt.Errorf("%s.uri is %q: it must begin with /", path, r.URI)
	case strings.ContainsAny(exact, "*:"):
		return fmt.Errorf("%s.uri is %q: devgateway knows an exact path or one that ends in /*", path, r.URI)
	case exact != r.URI && !strings.HasSuffix(exact, "/"):
		return fmt.Errorf("%s.uri is %q: the * must follow a /", path, r.URI)
	}
	return nil
}

// methods is what APISIX takes in a route.
var methods = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"}

func (r *routeFile) checkMethods(path string) error {
	for i, m := range r.Methods {
		if !slices.Contains(methods, m) {
			return fmt.Errorf("%s.methods[%d] is %q: use %s", path, i, m, strings.Join(methods, ", "))
		}
	}
	return nil
}

func (t *timeoutFile) check(path string) error {
	if t != nil && (t.Connect <= 0 || t.Send <= 0 || t.Read <= 0) {
		return fmt.Errorf("%s.timeout needs connect, send and read in seconds, each above 0", path)
	}
	return nil
}

func (t *timeoutFile) durations() Timeout {
	if t == nil {
		return defaultTimeout
	}
	seconds := func(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
	return Timeout{Connect: seconds(t.Connect), Send: seconds(t.Send), Read: seconds(t.Read)}
}

// Watcher notices a change of apisix.yaml by its bytes: a time stamp may stay the same over two quick writes.
type Watcher struct {
	path string
	last []byte
}

// Watch looks at the file in dir; the state it has now counts as seen.
func Watch(dir string) *Watcher {
	w := &Watcher{path: RulesFile(dir)}
	w.last, _ = os.ReadFile(w.path)
	return w
}

// Changed returns the new text once after each change, or nil.
func (w *Watcher) Changed() ([]byte, error) {
	text, err := os.ReadFile(w.path)
	if err != nil {
		return nil, fmt.Errorf("reading the routes: %w", err)
	}
	if bytes.Equal(text, w.last) {
		return nil, nil
	}
	w.last = text
	return text, nil
}
