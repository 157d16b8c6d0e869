package httpapi

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

// The documents of the API for developers, and pages that explain each problem. Package ui
// has their frame, and the page that shows the reference.

//go:embed pages.html
var pagesText string

var pages = template.Must(template.New("pages").Parse(pagesText))

func (a *API) mountPages(rt *wire.Router) {
	for pattern, h := range map[string]wire.Handler{
		"/docs/openapi.yaml":     openAPI,
		"/docs/openapi.json":     convertedOpenAPI(yaml.YAMLToJSON),
		"/docs/openapi-3.0.json": convertedOpenAPI(yaml.YAMLToJSON, openAPI30),
		"/docs/problems":         text("problems", "Problems", api.Kinds()),
		"/docs/problems/{slug}":  explainProblem,
	} {
		rt.Handle("GET", pattern, a, a.Site.OwnHost(h))
	}
}

// text serves a static page.
func text(name, title string, data any) wire.Handler {
	page, err := render(name, title, data)
	return func(w http.ResponseWriter, r *http.Request) error {
		if err != nil {
			return err
		}
		return page.Serve(w, r)
	}
}

// render makes a page of text from a template.
func render(name, title string, data any) (*ui.Page, error) {
	var body bytes.Buffer
	err := pages.ExecuteTemplate(&body, name, data)
	return &ui.Page{Title: title, Section: "/help", Layout: "text", Body: template.HTML(body.String())}, err
}

// failPage writes a problem as a page, for a browser that was sent to an address of
// this server which is no part of the API.
func failPage(w http.ResponseWriter, p *api.Problem) bool {
	page, err := render("error", p.Title, p)
	if err != nil {
		return false
	}
	content, err := page.Render()
	if err != nil {
		return false
	}
	page.SetHeaders(w.Header())
	header(w, "Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(content) // the client has disconnected
	return true
}

// wantsPage reports whether a person navigated to the address of r.
func wantsPage(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/v1/") && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// explainProblem serves the page for the type of a problem.
func explainProblem(w http.ResponseWriter, r *http.Request) error {
	for _, kind := range api.Kinds() {
		if kind.Slug != r.PathValue("slug") {
			continue
		}
		page, err := render("problem", kind.Title, kind)
		if err != nil {
			return err
		}
		return page.Serve(w, r)
	}
	return wire.ErrNoRoute
}

func openAPI(w http.ResponseWriter, _ *http.Request) error {
	header(w, "Content-Type", "application/yaml")
	header(w, "Cache-Control", "no-cache")
	header(w, "X-Content-Type-Options", "nosniff")
	_, err := w.Write(api.OpenAPI)
	return err
}

// convertedOpenAPI serves the same document in another form: as JSON to scripts, which
// cannot read YAML, or in an older version of OpenAPI.
func convertedOpenAPI(steps ...func([]byte) ([]byte, error)) wire.Handler {
	converted := sync.OnceValues(func() (*ui.File, error) {
		document := api.OpenAPI
		for _, convert := range steps {
			var err error
			if document, err = convert(document); err != nil {
				return nil, err
			}
		}
		return ui.NewFile("application/json", document), nil
	})
	return func(w http.ResponseWriter, r *http.Request) error {
		file, err := converted()
		if err != nil {
			return fmt.Errorf("convert openapi.yaml: %w", err)
		}
		return file.Serve(w, r, "no-cache")
	}
}
