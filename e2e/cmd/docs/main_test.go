package main

import (
	"os"
	"path/filepath"
	"slices"
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
