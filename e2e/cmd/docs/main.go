// Command docs writes those pages of docs/ that follow from the code, such as the catalogue of errors and the configuration reference, and the
// list of variables that webhookctl knows.
// Run it from the project's folder: go run ./e2e/cmd/docs
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// page is one generated file and what makes it from the project in root.
type page struct {
	path string
	make func(root string) (string, error)
}

var pages = []page{
	{"docs/errors.md", errorCatalogue},
	{"docs/configuration.md", configuration},
	{"docs/apisix-admin-api.md", adminAPI},
	{"webhookctl/doctor/variables.txt", variableNames},
}

func main() {
	if err := write("."); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func write(root string) error {
	for _, p := range pages {
		text, err := p.make(root)
		if err != nil {
			return fmt.Errorf("making %s: %w", p.path, err)
		}
		if err := os.WriteFile(filepath.Join(root, p.path), []byte(text), 0o644); err != nil { // #nosec G306 -- documents are for everybody
			return fmt.Errorf("writing %s: %w", p.path, err)
		}
	}
	return nil
}
