// Package docpages renders OpenAPI and AsyncAPI documents as pages to read. A page is one HTML file without scripts and without
// anything that is loaded, so the strictest policy holds for it: see Policy.
package docpages

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the template and the style
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
)

// Media is what a page is.
const Media = "text/html; charset=utf-8"

//go:embed templates/page.html
var source string

//go:embed templates/page.css
var style string

var page = template.Must(template.New("page").Parse(source))

// Policy is the Content-Security-Policy of every page: it has one style, which is known by its hash, an empty icon, and nothing else.
var Policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; img-src data:; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// Headers sets what goes with a page.
func Headers(h http.Header) {
	h.Set("Content-Type", Media)
	h.Set("Content-Security-Policy", Policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// API renders an OpenAPI document, whose calls are grouped by their first tag. documents are links to it.
func API(openAPI []byte, documents ...string) ([]byte, error) {
	d, err := parse(openAPI)
	if err != nil {
		return nil, err
	}
	return render(view{Title: d.text("info", "title"), About: d.text("info", "description"), Documents: documents, Groups: d.groups(), Schemas: d.schemas()})
}

// Resource renders what a resource's events are: its OpenAPI document says what endpoints get, its AsyncAPI document how to publish.
func Resource(openAPI, asyncAPI []byte) ([]byte, error) {
	d, err := parse(openAPI)
	if err != nil {
		return nil, err
	}
	a, err := parse(asyncAPI)
	if err != nil {
		return nil, err
	}
	return render(view{
		Title: d.text("info", "title"), About: d.text("info", "description"), Documents: []string{"openapi.json", "asyncapi.json"},
		Channels: a.channels(), Groups: d.webhooks(), Schemas: d.schemas(),
	})
}

func parse(raw []byte) (described, error) {
	var root node
	if err := json.Unmarshal(raw, &root); err != nil {
		return described{}, fmt.Errorf("reading the document: %w", err)
	}
	return described{root}, nil
}

func render(v view) ([]byte, error) {
	v.Style = template.CSS(style) // #nosec G203 -- our own file
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("rendering the page: %w", err)
	}
	return out.Bytes(), nil
}
