package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

// Context is one installation, as somebody knows it.
type Context map[Name]string

// Contexts is the file of contexts. It holds credentials, so it is the user's alone: mode 0600.
type Contexts struct {
	Current  string             `json:"current,omitempty"`
	Contexts map[string]Context `json:"contexts,omitempty"`
	path     string
}

// ErrNoContext is wrapped where a context is named that there is not.
var ErrNoContext = errors.New("there is no context")

// ReadContexts reads the file, or returns an empty one where there is none.
func ReadContexts(path string) (*Contexts, error) {
	c := &Contexts{Contexts: map[string]Context{}, path: path}
	if path == "" {
		return c, nil
	}
	text, err := secretfile.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("the contexts file: %w", err)
	}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("the contexts file %s is not what `webhookctl context` writes: mend or remove it", path)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]Context{}
	}
	return c, nil
}

// Layer returns a context; the current one for "", and an empty one if there is none.
func (c *Contexts) Layer(name string) (Layer, error) {
	if name == "" {
		name = c.Current
	}
	if name == "" {
		return Layer{From: "no context"}, nil
	}
	found, ok := c.Contexts[name]
	if !ok {
		return Layer{}, fmt.Errorf("%w %q: see webhookctl context list", ErrNoContext, name)
	}
	return Layer{From: "the context " + name, Values: found}, nil
}

// Set adds values to a context, and makes it where it is new. An empty value takes one away.
func (c *Contexts) Set(name string, values Context) {
	kept := maps.Clone(c.Contexts[name])
	if kept == nil {
		kept = Context{}
	}
	maps.Copy(kept, values)
	maps.DeleteFunc(kept, func(_ Name, value string) bool { return value == "" })
	c.Contexts[name] = kept
}

// Names are the contexts' names, sorted.
func (c *Contexts) Names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

// Save writes the file, all of it at once.
func (c *Contexts) Save() error {
	if c.path == "" {
		return errors.New("there is no directory for configuration: set HOME, XDG_CONFIG_HOME or WEBHOOKCTL_CONFIG")
	}
	text, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("writing the contexts file: %w", err)
	}
	return WriteSecret(c.path, text)
}

// WriteSecret writes a file for the user alone, all of it at once, and makes its folder.
func WriteSecret(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".webhookctl-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(file.Name())))
	}
	return nil
}
