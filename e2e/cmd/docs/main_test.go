package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
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
