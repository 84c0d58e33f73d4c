package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const configurationHead = `# Configuration

<!-- Written by go run ./e2e/cmd/docs from the code, whose comments are the descriptions: change those. -->

Every part is configured by its environment; there is no other configuration save the gateway's two files, whose plugin attributes are in
[plugin-attributes.md](plugin-attributes.md). A value that cannot be used is refused at the start, all faults at once and without repeating a
value; durations are such as ` + "`250ms`, `15s`, `1h30m`" + `. The runner sees only what ` + "`nginx_config.envs`" + ` in ` + "`config.yaml`" + ` lists.

## The services and the runner

The runner is the process that APISIX starts, with both plugins and the egress.

| variable | read by | value | unless set | |
| --- | --- | --- | --- | --- |
`

const gatewayHead = `
## The gateway's files

[` + "`apisix-conf/`" + `](../apisix-conf) takes these from the environment of APISIX or devgateway, so that the files are the same on every machine.

| variable | unless set | where |
| --- | --- | --- |
`

const scriptsHead = `
## Make and the scripts

They are for development, tests and trying it out. ` + "`scripts/stack.sh help`" + ` says which of the variables above it hands on.

| variable | used by | |
| --- | --- | --- |
`

// configuration is the reference of all variables.
func configuration(root string) (string, error) {
	variables, err := serviceVariables(root)
	if err != nil {
		return "", err
	}
	gateway, err := gatewayVariables(root)
	if err != nil {
		return "", err
	}
	scripts, err := scriptRows(root)
	return configurationHead + strings.Join(variables, "") + gatewayHead + strings.Join(gateway, "") + scriptsHead + strings.Join(scripts, ""), err
}

func serviceVariables(root string) ([]string, error) {
	byName := map[string][]variable{}
	for _, s := range sources {
		found, err := s.read(root, "", "")
		if err != nil {
			return nil, err
		}
		for _, v := range found {
			byName[v.name] = append(byName[v.name], v)
		}
	}
	var rows []string
	var errs []error
	for _, name := range sorted(byName) {
		about, err := aboutOf(name, byName[name])
		errs = append(errs, err)
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", name, readers(byName[name]), valueOf(byName[name][0].value), unset(byName[name]), about))
	}
	return rows, errors.Join(errs...)
}

func sorted[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// aboutOf takes the description from whichever struct has it; two that differ are a mistake.
func aboutOf(name string, uses []variable) (string, error) {
	about := ""
	for _, v := range uses {
		switch {
		case strings.HasSuffix(about, v.about): // nothing, the same, or less where the field that it is nested in says nothing
		case strings.HasSuffix(v.about, about):
			about = v.about
		default:
			return "", fmt.Errorf("%s is described in two ways: %q and %q", name, about, v.about)
		}
	}
	if about == "" {
		return "", fmt.Errorf("%s is not described: put a comment above its field", name)
	}
	return strings.ReplaceAll(about, "|", `\|`), nil
}

func readers(uses []variable) string {
	var names []string
	for _, v := range uses {
		if covered := names != nil && names[0] == everyService && v.reader != "runner"; !covered && !slices.Contains(names, v.reader) {
			names = append(names, v.reader)
		}
	}
	return strings.Join(names, ", ")
}

// unset tells the default, and where the processes differ whose it is.
func unset(uses []variable) string {
	byDefault := map[string][]string{}
	var order []string
	for _, v := range uses {
		said := "none"
		if v.required {
			said = "required"
		} else if v.unset != "" {
			said = "`" + v.unset + "`"
		} else if v.value == "bool" {
			said = "`false`"
		}
		if byDefault[said] == nil {
			order = append(order, said)
		}
		byDefault[said] = append(byDefault[said], v.reader)
	}
	if len(order) == 1 {
		return order[0]
	}
	for i, said := range order {
		order[i] = said + " (" + strings.Join(byDefault[said], ", ") + ")"
	}
	return strings.Join(order, ", ")
}

func gatewayVariables(root string) ([]string, error) {
	type use struct{ unset, file string }
	uses := map[string]use{}
	for _, file := range []string{"config.yaml", "apisix.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "apisix-conf", file)) // #nosec G304 -- the project's own files
		if err != nil {
			return nil, fmt.Errorf("reading the gateway's files: %w", err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, m := range substitution.FindAllStringSubmatch(line, -1) {
				uses[m[1]] = use{m[2], file}
			}
		}
	}
	var rows []string
	for _, name := range sorted(uses) {
		rows = append(rows, fmt.Sprintf("| `%s` | `%s` | `%s` |\n", name, uses[name].unset, uses[name].file))
	}
	return rows, nil
}
