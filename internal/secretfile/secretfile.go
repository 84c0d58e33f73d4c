// Package secretfile reads files with secrets.
package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// most is far more than a key or a list of keys takes, in bytes.
const most = 256 << 10

// ErrName means that a file is named in a way that may as well be what should be in it. It is not told, then.
var ErrName = errors.New("is not the absolute path of a file: begin it with /")

// CheckName refuses what is no absolute path. Somebody may have put a secret where its file's name belongs.
func CheckName(path string) error {
	if !filepath.IsAbs(path) || strings.ContainsAny(path, "\r\n") {
		return ErrName
	}
	return nil
}

// Read returns a file's content. It refuses a file that others can read or a group can change: what is in it would be no secret.
// Its errors name the file, and never what is in it.
func Read(path string) ([]byte, error) {
	if err := CheckName(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	var fault *fs.PathError
	switch {
	case errors.As(err, &fault):
		return nil, fmt.Errorf("%s: %w", path, fault.Err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o027 != 0:
		return nil, fmt.Errorf("%s has mode %04o, so that others can read or change it: chmod 600, or 440 for a group", path, info.Mode().Perm())
	case info.Size() > most:
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	text, err := os.ReadFile(path) // #nosec G304 -- the operator's own file
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("%s: %w", path, fault.Err)
	}
	return text, err
}
