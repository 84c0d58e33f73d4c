package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

const (
	listenVariable = "APISIX_LISTEN_ADDRESS"
	unixScheme     = "unix:"
	// finalMode is what the library gives its socket after it listens. A socket that is renamed before that ends the process.
	finalMode = fs.FileMode(0o766)
	// publishEvery is how often to look for the library's socket.
	publishEvery = 2 * time.Millisecond
)

// socket is where the gateway expects the runner. The library listens on a private name, which is then renamed onto the
// public one: a runner that ends unlinks the name it knows, and after a reload that must not be the new runner's.
type socket struct{ public, private string }

// privateSocket makes the library listen on a private name.
func privateSocket() (socket, error) {
	public, ok := strings.CutPrefix(os.Getenv(listenVariable), unixScheme)
	if !ok || public == "" {
		return socket{}, fmt.Errorf("%s must be %s and a path: the gateway sets it", listenVariable, unixScheme)
	}
	s := socket{public: public, private: fmt.Sprintf("%s.%d", public, os.Getpid())}
	// A leftover of an earlier process with our number must not be taken for the library's.
	if err := os.Remove(s.private); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return socket{}, fmt.Errorf("removing a leftover: %w", err)
	}
	if err := os.Setenv(listenVariable, unixScheme+s.private); err != nil {
		return socket{}, fmt.Errorf("setting %s: %w", listenVariable, err)
	}
	return s, nil
}

// publish waits for the library's socket to be complete and gives it its public name. It gives up when stop closes.
func (s socket) publish(stop <-chan struct{}) error {
	ticker := time.NewTicker(publishEvery)
	defer ticker.Stop()
	for {
		if info, err := os.Lstat(s.private); err == nil && info.Mode().Type() == fs.ModeSocket && info.Mode().Perm() == finalMode {
			break
		}
		select {
		case <-stop:
			return nil
		case <-ticker.C:
		}
	}
	if err := os.Rename(s.private, s.public); err != nil {
		return fmt.Errorf("publishing the socket: %w", err)
	}
	return nil
}
