// Package plugin has the plugins of APISIX that the two configuration files use.
package plugin

import (
	"errors"
	"fmt"

	"github.com/apisix-webhooks/apisix-webhooks/devgateway/config"
	"github.com/apisix-webhooks/apisix-webhooks/devgateway/extplugin"
)

// Chain is the plugins of one route. A nil field is a plugin that the route does not have. APISIX runs them in the
// order request-id, key-auth, proxy-rewrite, limit-count, prometheus, ext-plugin-post-req.
type Chain struct {
	RequestID    *RequestID
	KeyAuth      *KeyAuth
	ProxyRewrite *ProxyRewrite
	LimitCount   *LimitCount
	Prometheus   *Prometheus
	ExtPlugin    *ExtPlugin
}

// Known says whether devgateway has a plugin of this name.
func Known(name string) bool {
	_, ok := builders[name]
	return ok
}

var builders = map[string]func(*Chain, config.Plugin) error{
	"request-id":          addRequestID,
	"key-auth":            addKeyAuth,
	"proxy-rewrite":       addProxyRewrite,
	"limit-count":         addLimitCount,
	"prometheus":          addPrometheus,
	"ext-plugin-post-req": addExtPlugin,
}

// Build makes a chain of configured plugins. Enabled is the list `plugins` of config.yaml: what is not in it APISIX
// refuses too. Its error lists every fault.
func Build(list []config.Plugin, enabled map[string]bool) (*Chain, error) {
	c := &Chain{}
	var errs []error
	for _, p := range list {
		add, known := builders[p.Name]
		switch {
		case !known:
			errs = append(errs, fmt.Errorf("%s: devgateway does not have this plugin", p.Path))
		case !enabled[p.Name]:
			errs = append(errs, fmt.Errorf("%s: add %s to plugins in config.yaml", p.Path, p.Name))
		default:
			errs = append(errs, add(c, p))
		}
	}
	return c, errors.Join(errs...)
}

// CheckEnabled refuses names in the list `plugins` of config.yaml that devgateway does not have.
func CheckEnabled(enabled map[string]bool) error {
	var errs []error
	for name := range enabled {
		if !Known(name) {
			errs = append(errs, fmt.Errorf("config.yaml: plugins: devgateway does not have %q", name))
		}
	}
	return errors.Join(errs...)
}

// RequestID gives every request an id, unless it has one.
type RequestID struct {
	IncludeInResponse bool `yaml:"include_in_response"`
}

func addRequestID(c *Chain, p config.Plugin) error {
	c.RequestID = &RequestID{IncludeInResponse: true}
	return config.Strict(p.Path, p.Raw, c.RequestID)
}

// ProxyRewrite removes headers. As in APISIX its presence alone means that the upstream gets the normalised path.
type ProxyRewrite struct {
	Headers struct {
		Remove []string `yaml:"remove"`
	} `yaml:"headers"`
}

func addProxyRewrite(c *Chain, p config.Plugin) error {
	c.ProxyRewrite = &ProxyRewrite{}
	return config.Strict(p.Path, p.Raw, c.ProxyRewrite)
}

// Prometheus counts calls per route and status.
type Prometheus struct {
	PreferName bool `yaml:"prefer_name"`
}

func addPrometheus(c *Chain, p config.Plugin) error {
	c.Prometheus = &Prometheus{}
	return config.Strict(p.Path, p.Raw, c.Prometheus)
}

// ExtPlugin is the plugins that the runner runs.
type ExtPlugin struct {
	Conf []ExtPluginEntry `yaml:"conf"`
}

// ExtPluginEntry is one plugin of the runner and its configuration.
type ExtPluginEntry struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

func addExtPlugin(c *Chain, p config.Plugin) error {
	if raw, ok := p.Raw.(map[string]any); ok {
		if _, degrades := raw["allow_degradation"]; degrades {
			return fmt.Errorf("%s.allow_degradation is refused: it lets calls through without the plugin", p.Path)
		}
	}
	c.ExtPlugin = &ExtPlugin{}
	if err := config.Strict(p.Path, p.Raw, c.ExtPlugin); err != nil {
		return err
	}
	if len(c.ExtPlugin.Conf) == 0 {
		return fmt.Errorf("%s.conf must name at least one plugin", p.Path)
	}
	for i, e := range c.ExtPlugin.Conf {
		if e.Name == "" || len(e.Name) > 128 {
			return fmt.Errorf("%s.conf[%d].name must have 1 to 128 characters", p.Path, i)
		}
	}
	return nil
}

// Entries is the configuration as the runner gets it.
func (e *ExtPlugin) Entries() []extplugin.Entry {
	list := make([]extplugin.Entry, len(e.Conf))
	for i, c := range e.Conf {
		list[i] = extplugin.Entry(c)
	}
	return list
}
