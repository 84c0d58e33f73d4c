// Package secretfile reads files with secrets.
package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// most is far more than a key or a list of keys takes, in bytes.
const most = 256 << 10

// Read returns a file's content. It refuses a file that others can read or a group can change: what is in it would be no secret.
// Its errors name the file, and never what is in it.
func Read(path string) ([]byte, error) {
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
	text, err := os.ReadFile(path)
	if errors.As(err, &fault) {
		return nil, fmt.Errorf("%s: %w", path, fault.Err)
	}
	return text, err
}
