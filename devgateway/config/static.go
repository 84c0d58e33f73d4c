// Package config reads the two files that drive the gateway: config.yaml (how it runs) and apisix.yaml (what it
// routes). Whatever devgateway does not know it refuses, so that a file that works here means the same in APISIX.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// Static is config.yaml, checked. It is read once, at the start.
type Static struct {
	Listen    []string // host:port
	ListenTLS []string // likewise; certificates are in apisix.yaml
	// TrustedCA is the PEM file of the authorities of upstreams; "" unless upstreams are verified.
	TrustedCA     string
	Metrics       string // host:port of the prometheus export server
	RunnerCommand []string
	RunnerEnv     []string // names, or NAME=value
	Plugins       map[string]bool
	LogLevel      zapcore.Level
	MaxBody       int64         // bytes; 0: no limit
	HeaderTimeout time.Duration // to read a request's headers
	BodyTimeout   time.Duration // between two reads of a request's body
	SendTimeout   time.Duration // of one write of an answer
	Keepalive     time.Duration // of a connection between two requests
}

type staticFile struct {
	APISIX struct {
		NodeListen         []address `yaml:"node_listen"`
		EnableServerTokens *bool     `yaml:"enable_server_tokens"`
		EnableControl      *bool     `yaml:"enable_control"`
		SSL                struct {
			Enable  *bool     `yaml:"enable"`
			Listen  []address `yaml:"listen"`
			Trusted string    `yaml:"ssl_trusted_certificate"`
		} `yaml:"ssl"`
	} `yaml:"apisix"`
	Deployment struct {
		Role          string `yaml:"role"`
		RoleDataPlane struct {
			ConfigProvider string `yaml:"config_provider"`
		} `yaml:"role_data_plane"`
	} `yaml:"deployment"`
	ExtPlugin struct {
		Cmd []string `yaml:"cmd"`
	} `yaml:"ext-plugin"`
	Nginx      nginxFile `yaml:"nginx_config"`
	Plugins    []string  `yaml:"plugins"`
	PluginAttr struct {
		Prometheus struct {
			ExportAddr address `yaml:"export_addr"`
		} `yaml:"prometheus"`
	} `yaml:"plugin_attr"`
}

type nginxFile struct {
	ErrorLogLevel string   `yaml:"error_log_level"`
	Envs          []string `yaml:"envs"`
	HTTP          struct {
		ClientMaxBodySize   any `yaml:"client_max_body_size"`
		ClientHeaderTimeout any `yaml:"client_header_timeout"`
		ClientBodyTimeout   any `yaml:"client_body_timeout"`
		SendTimeout         any `yaml:"send_timeout"`
		KeepaliveTimeout    any `yaml:"keepalive_timeout"`
	} `yaml:"http"`
	Snippet string `yaml:"http_configuration_snippet"`
}

type address struct {
	IP   string `yaml:"ip"`
	Port int    `yaml:"port"`
}

func (a address) String() string { return net.JoinHostPort(a.IP, strconv.Itoa(a.Port)) }

// ReadStatic reads config.yaml in dir. Its error lists every fault of the file.
func ReadStatic(dir string, env *Environment) (*Static, error) {
	text, err := os.ReadFile(filepath.Join(dir, "config.yaml")) // #nosec G304 -- the operator's own folder
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	return ParseStatic(text, env)
}

// ParseStatic is ReadStatic for the text of the file.
func ParseStatic(text []byte, env *Environment) (*Static, error) {
	doc, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	tree, err := env.Tree(doc)
	if err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	file := staticFile{}
	file.Nginx.ErrorLogLevel = "warn"
	file.PluginAttr.Prometheus.ExportAddr = address{IP: "127.0.0.1", Port: 9091}
	if err := Strict("config.yaml", tree, &file); err != nil {
		return nil, err
	}
	return file.check()
}

func (f *staticFile) check() (*Static, error) {
	s := &Static{
		Metrics:       f.PluginAttr.Prometheus.ExportAddr.String(),
		RunnerCommand: f.ExtPlugin.Cmd,
		RunnerEnv:     f.Nginx.Envs,
		Plugins:       map[string]bool{},
	}
	for _, a := range f.APISIX.NodeListen {
		s.Listen = append(s.Listen, a.String())
	}
	for _, name := range f.Plugins {
		s.Plugins[name] = true
	}
	err := errors.Join(f.switches(), f.required(), f.ssl(s), f.Nginx.into(s))
	if err != nil {
		return nil, fmt.Errorf("config.yaml: %w", err)
	}
	return s, nil
}

// switches refuses what devgateway can't do, where leaving the key out would mean the opposite in APISIX.
func (f *staticFile) switches() error {
	return errors.Join(
		off("apisix.enable_server_tokens", f.APISIX.EnableServerTokens),
		off("apisix.enable_control", f.APISIX.EnableControl),
		only("deployment.role", f.Deployment.Role, "data_plane"),
		only("deployment.role_data_plane.config_provider", f.Deployment.RoleDataPlane.ConfigProvider, "yaml"),
	)
}

// ssl takes listeners over TLS, and whom to believe about upstreams where the snippet has nginx verify them.
func (f *staticFile) ssl(s *Static) error {
	ssl := f.APISIX.SSL
	if ssl.Enable == nil {
		return errors.New("apisix.ssl.enable is missing: say true or false, APISIX would take it as true")
	}
	var errs []error
	for i, a := range ssl.Listen {
		errs = append(errs, a.check(fmt.Sprintf("apisix.ssl.listen[%d]", i)))
		if *ssl.Enable {
			s.ListenTLS = append(s.ListenTLS, a.String())
		}
	}
	if *ssl.Enable && len(ssl.Listen) == 0 {
		errs = append(errs, errors.New("apisix.ssl.listen is missing: give a list of ip and port"))
	}
	if verifies.MatchString(f.Nginx.Snippet) {
		if s.TrustedCA = ssl.Trusted; s.TrustedCA == "" {
			errs = append(errs, errors.New("apisix.ssl.ssl_trusted_certificate is missing: proxy_ssl_verify needs the authorities of upstreams"))
		}
	}
	return errors.Join(errs...)
}

func off(path string, v *bool) error {
	if v == nil || *v {
		return fmt.Errorf("%s must be false: devgateway has nothing else", path)
	}
	return nil
}

func only(path, got, want string) error {
	if got != want {
		return fmt.Errorf("%s is %q: devgateway knows %q only", path, got, want)
	}
	return nil
}

func (f *staticFile) required() error {
	var errs []error
	if len(f.APISIX.NodeListen) == 0 {
		errs = append(errs, errors.New("apisix.node_listen is missing: give a list of ip and port"))
	}
	for i, a := range f.APISIX.NodeListen {
		errs = append(errs, a.check(fmt.Sprintf("apisix.node_listen[%d]", i)))
	}
	errs = append(errs, f.PluginAttr.Prometheus.ExportAddr.check("plugin_attr.prometheus.export_addr"))
	if len(f.ExtPlugin.Cmd) == 0 {
		errs = append(errs, errors.New("ext-plugin.cmd is missing: give the runner's command as a list"))
	}
	return errors.Join(errs...)
}

func (a address) check(path string) error {
	if net.ParseIP(a.IP) == nil {
		return fmt.Errorf("%s.ip is %q: give an IP address", path, a.IP)
	}
	if a.Port < 0 || a.Port > 65535 {
		return fmt.Errorf("%s.port is %d: give a port", path, a.Port)
	}
	return nil
}

// snippet are the directives that are known. Two change nothing here: devgateway streams bodies and has no such buffer, and takes
// headers as long as these.
var snippet = regexp.MustCompile(`^\s*((client_body_buffer_size\s+[0-9]+[kKmM]?|large_client_header_buffers\s+4\s+8k|proxy_ssl_verify\s+on)\s*;\s*)*$`)

var verifies = regexp.MustCompile(`proxy_ssl_verify\s+on\s*;`)

var logLevels = map[string]zapcore.Level{
	"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "notice": zapcore.InfoLevel,
	"warn": zapcore.WarnLevel, "error": zapcore.ErrorLevel,
}

func (n *nginxFile) into(s *Static) error {
	level, known := logLevels[n.ErrorLogLevel]
	s.LogLevel = level
	var errs []error
	if !known {
		errs = append(errs, fmt.Errorf("nginx_config.error_log_level is %q: use debug, info, notice, warn or error", n.ErrorLogLevel))
	}
	if !snippet.MatchString(n.Snippet) {
		errs = append(errs, errors.New("nginx_config.http_configuration_snippet: devgateway knows client_body_buffer_size, large_client_header_buffers 4 8k and proxy_ssl_verify on only"))
	}
	for i, e := range n.Envs {
		if name, _, _ := strings.Cut(e, "="); name == "" {
			errs = append(errs, fmt.Errorf("nginx_config.envs[%d] is %q: write NAME or NAME=value", i, e))
		}
	}
	return errors.Join(append(errs, n.limits(s))...)
}

// limits reads the sizes and times; what is not given has the default of APISIX.
func (n *nginxFile) limits(s *Static) error {
	s.HeaderTimeout, s.BodyTimeout, s.SendTimeout, s.Keepalive = time.Minute, time.Minute, 10*time.Second, time.Minute
	var errs []error
	set := func(name string, v any, read func() error) {
		if v == nil {
			return
		}
		if err := read(); err != nil {
			errs = append(errs, fmt.Errorf("nginx_config.http.%s: %w", name, err))
		}
	}
	h := n.HTTP
	set("client_max_body_size", h.ClientMaxBodySize, func() (err error) { s.MaxBody, err = size(h.ClientMaxBodySize); return })
	set("client_header_timeout", h.ClientHeaderTimeout, func() (err error) { s.HeaderTimeout, err = duration(h.ClientHeaderTimeout); return })
	set("client_body_timeout", h.ClientBodyTimeout, func() (err error) { s.BodyTimeout, err = duration(h.ClientBodyTimeout); return })
	set("send_timeout", h.SendTimeout, func() (err error) { s.SendTimeout, err = duration(h.SendTimeout); return })
	set("keepalive_timeout", h.KeepaliveTimeout, func() (err error) { s.Keepalive, err = duration(h.KeepaliveTimeout); return })
	return errors.Join(errs...)
}
