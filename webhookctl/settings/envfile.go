package settings

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// StackFile is where `make up` writes its addresses.
var StackFile = filepath.Join(".run", "env")

// ReadStack reads the .run/env of a directory; ok is false if there is none. Whoever can write the directory must get neither the
// caller's credentials nor events by it: addresses of other machines are left out.
func ReadStack(dir string) (layer Layer, ok bool, err error) {
	values, err := ReadEnvFile(filepath.Join(dir, StackFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Layer{}, false, nil
	}
	layer = Layer{From: StackFile, Values: map[Name]string{}}
	for _, name := range Names {
		value := values[string(name)]
		if strings.HasSuffix(string(name), "_URL") && !Loopback(value) {
			continue
		}
		layer.Values[name] = value
	}
	return layer, true, err
}

// ReadEnvFile reads a file of KEY=value lines, as for `source`. It expands nothing.
func ReadEnvFile(path string) (map[string]string, error) {
	text, err := os.ReadFile(path) // #nosec G304 -- the caller's own file
	if err != nil {
		return nil, fmt.Errorf("reading the variables: %w", err)
	}
	values := map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export ")
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			values[name] = unquote(value)
		}
	}
	return values, nil
}

func unquote(value string) string {
	if len(value) > 1 && (value[0] == '\'' || value[0] == '"') && value[len(value)-1] == value[0] {
		return value[1 : len(value)-1]
	}
	return value
}
