package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/apisix-webhooks/apisix-webhooks/internal/secretfile"
)

// mostSecret is far more than a key or a token takes, in bytes.
const mostSecret = 64 << 10

// ReadSecret reads a key or token from a file that only its owner can read, from a pipe such as <(pass show key), or from in for
// "-". White space around it does not count. Its errors never hold what is in the file.
func ReadSecret(path string, in io.Reader) (string, error) {
	text, err := readSecret(path, in)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(text))
	if secret == "" {
		return "", fmt.Errorf("%s is empty: it should hold a key or token", path)
	}
	return secret, nil
}

func readSecret(path string, in io.Reader) ([]byte, error) {
	if path == "-" {
		return readAll(in)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if info, err := os.Stat(absolute); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0 {
		file, err := os.Open(absolute) // #nosec G304 -- the caller's own pipe
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		defer func() { _ = file.Close() }()
		return readAll(file)
	}
	return secretfile.Read(absolute)
}

func readAll(in io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, mostSecret+1))
	if err == nil && len(text) > mostSecret {
		err = errors.New("it is longer than any key")
	}
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	return text, nil
}
