package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// asked matches how a shell script asks for a variable that may be unset: ${NAME:-…}, ${NAME-…}, ${NAME:?…}, ${NAME:=…}.
var asked = regexp.MustCompile(`\$\$?\{([A-Z][A-Z0-9_]+)(?::?[-=?])`)

// scriptVariables describes what only make, the scripts and docker-compose.yml ask for.
var scriptVariables = map[string]string{ // #nosec G101 -- names and what they are
	"RUN_DIR":                  "the folder of a stack: several live side by side; `.run` unless set",
	"STACK_TIMEOUT":            "seconds that a process may take to become healthy; 120 unless set",
	"STACK":                    "`compose`: on Docker with the real APISIX",
	"E2E_ENV_FILE":             "the tests run over the stack that wrote this file, instead of one of their own",
	"E2E_STACK":                "the script with which tests stop and start parts of that stack; without it those are left out",
	"CHROMIUM":                 "the browser in which the pages are tested; Debian's chromium unless set",
	"TEST_RUN_DIR":             "the folder of the tests' own stack; `.run/test` unless set",
	"DEMO_RUN_DIR":             "the folder of the demo's stack; `.run/demo` unless set",
	"BENCH_RUN_DIR":            "the folder of the benchmarks' stack; `.run/bench` unless set",
	"CHAOS_RUN_DIR":            "the folder of the stack that is broken; `.run/chaos` unless set",
	"BENCH_JSON":               "where `make bench` writes its figures; `.run/bench.json` unless set",
	"FIGURES":                  "which figures `make bench` measures, as letters",
	"SCREENSHOTS_RUN_DIR":      "the folder of the stack whose pages `make screenshots` takes pictures of",
	"REDIS_PASSWORD":           "of the compose stack's Redis; `scripts/env.sh` makes one",
	"RABBITMQ_PASSWORD":        "of the compose stack's RabbitMQ; `scripts/env.sh` makes one",
	"REDIS_PORT":               "the compose stack's port of Redis on this machine",
	"AMQP_PORT":                "the compose stack's port of RabbitMQ on this machine",
	"RABBITMQ_MANAGEMENT_PORT": "the compose stack's port of RabbitMQ's own pages on this machine",
	"GATEWAY_PORT":             "the compose stack's port of the gateway on this machine",
	"GATEWAY_METRICS_PORT":     "the compose stack's port of the gateway's metrics on this machine",
	"RUNNER_METRICS_PORT":      "the compose stack's port of the runner's metrics on this machine",
	"ADMIN_PORT":               "the compose stack's port of the admin listener on this machine",
	"CALLBACK_METRICS_PORT":    "the compose stack's port of the callback service's metrics on this machine",
	"LISTENER_METRICS_PORT":    "the compose stack's port of the listener's metrics on this machine",
	"PROMETHEUS_PORT":          "the compose stack's port of Prometheus on this machine, with the profile `observability`",
	"GRAFANA_PORT":             "the compose stack's port of Grafana on this machine, with the profile `observability`",
	"GRAFANA_PASSWORD":         "of Grafana's admin; `admin` unless set",
}

// scriptRows lists what the scripts ask for beside the services' variables. One that is not described is an error.
func scriptRows(root string) ([]string, error) {
	users, err := scriptUsers(root)
	if err != nil {
		return nil, err
	}
	var rows []string
	for _, name := range sorted(users) {
		about, known := scriptVariables[name]
		if !known {
			return nil, fmt.Errorf("%s, which %s asks for, is not described: add it to scriptVariables", name, strings.Join(users[name], " and "))
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |\n", name, strings.Join(users[name], ", "), about))
	}
	return rows, nil
}

func scriptUsers(root string) (map[string][]string, error) {
	files := []string{"Makefile", "docker-compose.yml"}
	for _, pattern := range []string{"scripts/*.sh", "scripts/lib/*.sh"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pattern, err)
		}
		for _, file := range found {
			name, _ := filepath.Rel(root, file) // both are below root
			files = append(files, name)
		}
	}
	users := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, file)) // #nosec G304 -- the project's own files
		if err != nil {
			return nil, fmt.Errorf("reading the scripts: %w", err)
		}
		add(users, file, string(text))
	}
	return users, nil
}

func add(users map[string][]string, file, text string) {
	for _, m := range asked.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if ofOthers(name) {
			continue
		}
		if by := users[name]; len(by) == 0 || by[len(by)-1] != "`"+file+"`" {
			users[name] = append(by, "`"+file+"`")
		}
	}
}

// ofOthers reports whether a variable is one of the services', described above, or not ours at all.
func ofOthers(name string) bool {
	switch name {
	case "BASH_SOURCE", "FOREGROUND", "CC", "EUID", "HOME", "PATH", "AMQP_URL", "REDIS_URL":
		return true
	}
	return strings.HasPrefix(name, "WEBHOOK_")
}
