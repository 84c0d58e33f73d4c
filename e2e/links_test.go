package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

var (
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	codeBlocks = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpans  = regexp.MustCompile("`[^`\n]*`")
)

func TestEveryRelativeLinkOfTheDocumentsLeadsSomewhere(t *testing.T) {
	checked := 0
	for _, document := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(prose(t, document), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			checked++
			path := document
			if target != "" {
				path = filepath.Join(filepath.Dir(document), target)
			}
			_, err := os.Stat(path)
			require.NoError(t, err, "%s leads to %s", document, m[1])
			if anchor != "" {
				require.Contains(t, anchors(t, path), anchor, "%s leads to %s", document, m[1])
			}
		}
	}
	require.Greater(t, checked, 50)
}

// documents are the Markdown files of the project, without what is made or brought along.
func documents(t *testing.T) (found []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && path != ".." && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules"):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".md"):
			found = append(found, path)
		}
		return nil
	}))
	require.NotEmpty(t, found)
	return found
}

// prose is a document without its code.
func prose(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return codeSpans.ReplaceAllString(codeBlocks.ReplaceAllString(string(text), ""), "")
}

// anchors are the addresses of a document's headings, as GitHub makes them.
func anchors(t *testing.T, path string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, m := range heading.FindAllSubmatch(codeBlocks.ReplaceAll(text, nil), -1) {
		title := strings.ToLower(string(bytes.ReplaceAll(m[1], []byte("`"), nil)))
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
				return r
			}
			return -1
		}, title))
	}
	return all
}
