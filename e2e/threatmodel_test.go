package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Z]\w*)\(`)
)

func TestEveryPathOfTheThreatModelNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../THREAT-MODEL.md")
	require.NoError(t, err)
	exists := testFunctions(t)
	_, paths, found := strings.Cut(string(text), "\n## Paths\n")
	require.True(t, found)
	paths, _, _ = strings.Cut(paths, "\n## ")
	rows := 0
	for line := range strings.Lines(paths) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| path") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		names := testName.FindAllString(line, -1)
		require.NotEmpty(t, names, "no test shows that this is stopped: %s", line)
		for _, name := range names {
			require.True(t, exists[name], "%s, which this names, does not exist: %s", name, line)
		}
	}
	require.Greater(t, rows, 40)
}

// testFunctions are those of all modules.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), "."), entry.IsDir() && entry.Name() == "bin":
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := os.ReadFile(path)
		for _, match := range testFunc.FindAllSubmatch(source, -1) {
			found[string(match[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return found
}
