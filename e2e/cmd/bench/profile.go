package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// profileSeconds is how long a CPU profile lasts.
const profileSeconds = 20

// startProfiles takes CPU profiles from processes that offer them, beside what is measured. The returned function waits
// for them.
func (b *bench) startProfiles(ctx context.Context) (wait func()) {
	var running sync.WaitGroup
	for _, wanted := range strings.FieldsFunc(b.profile, func(r rune) bool { return r == ',' }) {
		running.Go(func() {
			if err := fetchProfile(ctx, wanted, b.profileDirectory); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		})
	}
	return running.Wait
}

// fetchProfile gets one, as name=host:port, into a file name.pprof.
func fetchProfile(ctx context.Context, wanted, directory string) error {
	name, address, _ := strings.Cut(wanted, "=")
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, profileSeconds)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("profiling %s: %w", name, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profiling %s: %w", name, err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("got %s", resp.Status)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(directory, filepath.Base(name)+".pprof"), content, 0o600)
	}
	if err != nil {
		return fmt.Errorf("profiling %s: %w", name, err)
	}
	return nil
}
