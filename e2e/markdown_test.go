package e2e

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// codeBlock is a piece of code in a document. name is that of the comment before it: <!-- run: NAME -->.
type codeBlock struct{ language, name, text string }

var (
	fence  = regexp.MustCompile("^```([a-z]*)$")
	marker = regexp.MustCompile(`^<!-- run: ([a-z-]+) -->$`)
)

// codeOf returns the blocks of a document, whose path is from the project's folder.
func codeOf(t *testing.T, document string) (blocks []codeBlock) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", document))
	require.NoError(t, err)
	var open *codeBlock
	name := ""
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		switch found := fence.FindStringSubmatch(line); {
		case open != nil && line == "```":
			blocks, open = append(blocks, *open), nil
		case open != nil:
			open.text += line + "\n"
		case found != nil:
			open, name = &codeBlock{language: found[1], name: name}, ""
		default:
			if m := marker.FindStringSubmatch(line); m != nil {
				name = m[1]
			}
		}
	}
	require.Nil(t, open, "%s has a block that does not end", document)
	require.NotEmpty(t, blocks, document)
	return blocks
}

// named returns the one block of that name.
func named(t *testing.T, document, name string) string {
	t.Helper()
	for _, b := range codeOf(t, document) {
		if b.name == name {
			return b.text
		}
	}
	require.Fail(t, "no such block", "%s in %s", name, document)
	return ""
}

// shellOf joins what a reader of a document would type, one block after the other in one shell.
func shellOf(t *testing.T, document string) string {
	t.Helper()
	var script strings.Builder
	for _, b := range codeOf(t, document) {
		if b.language == "sh" {
			script.WriteString(b.text)
		}
	}
	require.NotEmpty(t, script.String(), document)
	return script.String()
}

// here puts this run's stack and free ports in the place of those that the documents name.
func here(t *testing.T, text string) string {
	t.Helper()
	env, err := filepath.Abs(filepath.Join("..", os.Getenv("E2E_ENV_FILE")))
	require.NoError(t, err)
	if filepath.IsAbs(os.Getenv("E2E_ENV_FILE")) {
		env = os.Getenv("E2E_ENV_FILE")
	}
	text = strings.ReplaceAll(text, ".run/", filepath.Dir(env)+"/")
	return strings.ReplaceAll(text, "9000", freePort(t))
}

// strict makes a shell end at the first command that fails; an answer of 4xx or 5xx is a failure too.
const strict = "set -euo pipefail\ncurl() { command curl --fail-with-body \"$@\"; }\n"

// typed runs a script in the project's folder, as one shell whose processes all end with the test, and returns what it printed.
func typed(t *testing.T, script string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx(t), "bash", "-c", strict+here(t, script))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "..", &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it left running
	}
	require.NoError(t, err, "%s", out.String())
	return out.String()
}
