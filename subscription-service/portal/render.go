package portal

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/apisix-webhooks/apisix-webhooks/internal/contract"
	"github.com/apisix-webhooks/apisix-webhooks/subscription-service/api"
)

//go:embed templates
var templateFiles embed.FS

// pages are the templates by name. Each has its own "main", and may be shown in the layout or, as a fragment, without.
type pages map[string]*template.Template

// parsePages reads templates/layout.html, templates/parts, which all share, and one template for each page.
func parsePages() (pages, error) {
	shared, err := template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html")
	if err != nil {
		return nil, fmt.Errorf("reading the templates: %w", err)
	}
	entries, err := templateFiles.ReadDir("templates/pages")
	if err != nil {
		return nil, fmt.Errorf("reading the templates: %w", err)
	}
	all := pages{}
	for _, entry := range entries {
		page, err := template.Must(shared.Clone()).ParseFS(templateFiles, path.Join("templates/pages", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading the templates: %w", err)
		}
		all[strings.TrimSuffix(entry.Name(), ".html")] = page
	}
	return all, nil
}

// functions are what templates can call.
var functions = template.FuncMap{
	"at":      at,
	"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"join":    strings.Join,
	"dict":    dict,
	"ms":      func(ms float64) string { return plain(ms) + " ms" },
	"number":  plain,
}

// plain is a number to three digits behind the point at most.
func plain(n float64) string {
	return strconv.FormatFloat(math.Round(n*1000)/1000, 'f', -1, 64)
}

// dict gives a template several things by name.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a name lacks its value")
	}
	d := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, errors.New("dict: a name is no text")
		}
		d[name] = pairs[i+1]
	}
	return d, nil
}

// shown is what every template gets.
type shown struct {
	Title string
	// Base comes before every path; the paths begin with /portal.
	Base string
	// CSRF is what each form carries.
	CSRF string
	// Who is signed in; empty for nobody.
	Who   string
	Admin bool
	// Resources are those that a consumer may subscribe to.
	Resources []string
	// Path is the page's own, without the base.
	Path string
	// Done says what the form before has done.
	Done string
	// Data is the page's own.
	Data any
}

// Asset is the address of a file.
func (d shown) Asset(name string) string { return d.Base + assetPath(name) }

func (s *site) shown(r *http.Request, v *visit, title string, data any) shown {
	d := shown{Title: title, Base: s.base, Path: r.URL.Path, Done: doneTexts[r.URL.Query().Get("done")], Data: data}
	if v != nil {
		d.CSRF, d.Who, d.Admin = csrfOf(v.token), v.consumer.Name, v.user.Actor.Kind == contract.ActorAdmin
		d.Resources = v.resources()
	}
	return d
}

// render shows a page in the layout. v is nil where nobody is signed in.
func (s *site) render(w http.ResponseWriter, r *http.Request, v *visit, status int, name, title string, data any) {
	s.execute(w, r, status, name, "layout", s.shown(r, v, title, data))
}

// fragment shows one template of a page without the layout, for a script that puts it into a page.
func (v *visit) fragment(name, part string, data any) error {
	v.execute(v.w, v.r, http.StatusOK, name, part, v.shown(v.r, v, "", data))
	return nil
}

// execute answers with a whole page or with none: it is written once it is complete.
func (s *site) execute(w http.ResponseWriter, r *http.Request, status int, name, part string, data shown) {
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, part, data); err != nil {
		s.Log.Error("a template failed", zap.String("page", name), zap.String("request", api.IDOf(r.Context())), zap.Error(err))
		http.Error(w, "this page failed (request "+api.IDOf(r.Context())+")", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the client hung up: nobody left to tell
}

// On tells whether the page is below a path.
func (d shown) On(path string) bool { return strings.HasPrefix(d.Path, path) }
