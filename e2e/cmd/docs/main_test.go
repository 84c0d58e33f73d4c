package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../../.."

func TestTheGeneratedPagesAreUpToDate(t *testing.T) {
	for _, p := range pages {
		want, err := p.make(root)
		require.NoError(t, err, p.path)
		got, err := os.ReadFile(filepath.Join(root, p.path))
		require.NoError(t, err)
		require.Equal(t, want, string(got), "%s: run go run ./e2e/cmd/docs", p.path)
	}
}

// APISIX hands on to the runner only what is listed.
func TestTheRunnerIsGivenEveryVariableThatItReads(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "apisix-conf/config.yaml"))
	require.NoError(t, err)
	var file struct {
		Nginx struct{ Envs []string } `yaml:"nginx_config"`
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	read := 0
	for _, s := range sources {
		if s.reader != "runner" {
			continue
		}
		variables, err := s.read(root, "", "")
		require.NoError(t, err)
		for _, v := range variables {
			require.True(t, slices.Contains(file.Nginx.Envs, v.name), "%s is not in nginx_config.envs", v.name)
			read++
		}
	}
	require.NotZero(t, read)
}

// The table of attributes is written by hand, but what there is stands in the code.
func TestEveryAttributeOfThePluginsIsInTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/plugin-attributes.md"))
	require.NoError(t, err)
	var want []string
	for _, s := range []struct{ folder, structure, prefix string }{
		{"plugins/filter", "rawConfig", ""}, {"plugins/bearer", "Settings", "jwt."}, {"plugins/bearer", "IssuerSettings", "jwt.issuers[]."},
	} {
		fields, err := fieldsOf(filepath.Join(root, s.folder), s.structure)
		require.NoError(t, err)
		for _, f := range fields {
			want = append(want, s.prefix+reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"))
		}
	}
	var got []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z][\w.\[\]]*) \|`).FindAllStringSubmatch(string(text), -1) {
		got = append(got, row[1])
	}
	require.ElementsMatch(t, want, got)
}

// An Admin API that is given the page's calls has afterwards what apisix.yaml says.
func TestTheCallsOfTheAdminAPIMakeWhatTheFileHas(t *testing.T) {
	made := map[string]any{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var object map[string]any
		if r.Method != http.MethodPut || r.Header.Get("X-API-KEY") != "the-key" || json.NewDecoder(r.Body).Decode(&object) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		made[strings.TrimPrefix(r.URL.Path, "/apisix/admin/")] = object
	}))
	defer server.Close()
	text, err := os.ReadFile(filepath.Join(root, "docs/apisix-admin-api.md"))
	require.NoError(t, err)
	_, script, _ := strings.Cut(string(text), "```bash\n")
	script, _, _ = strings.Cut(script, "```\n")
	script = regexp.MustCompile(`(?m)^APISIX_ADMIN=.*$`).ReplaceAllString(script, "APISIX_ADMIN="+server.URL)
	script = regexp.MustCompile(`(?m)^APISIX_KEY=.*$`).ReplaceAllString(script, "APISIX_KEY=the-key")
	out, err := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script).CombinedOutput()
	require.NoError(t, err, "%s", out)

	objects, err := gatewayObjects(root)
	require.NoError(t, err)
	want := map[string]any{}
	for kind, all := range objects {
		for _, object := range all {
			id := object["id"].(string)
			delete(object, "id")
			want[kind+"/"+id] = object
		}
	}
	wanted, err := json.Marshal(want)
	require.NoError(t, err)
	got, err := json.Marshal(made)
	require.NoError(t, err)
	require.JSONEq(t, string(wanted), string(got))
}
