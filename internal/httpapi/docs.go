package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/swaggest/swgui"
	"github.com/swaggest/swgui/v5emb"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

// The pages for developers: the API reference, from which users can send requests, and
// an explanation of each problem. Everything is in the binary; nothing is loaded from
// elsewhere. Package ui has their style sheets.

//go:embed pages.html
var pagesText string

var pages = template.Must(template.New("pages").Funcs(template.FuncMap{"asset": ui.URL}).Parse(pagesText))

func (a *API) mountPages(rt *wire.Router) {
	reference := a.reference()
	routes := map[string]wire.Handler{
		"/docs":                 reference.page,
		"/docs/{asset}":         reference.asset,
		"/docs/openapi.yaml":    openAPI,
		"/docs/problems":        text("problems", "Problems", api.Kinds()),
		"/docs/problems/{slug}": explainProblem,
	}
	maps.Copy(routes, manual())
	for pattern, h := range routes {
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
	body, err := fragment(name, data)
	return &ui.Page{Title: title, Section: "/help", Layout: "text", Body: body}, err
}

func fragment(name string, data any) (template.HTML, error) {
	var body bytes.Buffer
	err := pages.ExecuteTemplate(&body, name, data)
	return template.HTML(body.String()), err
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

// A reference is the page of the API reference and the assets that it loads.
type reference struct {
	html   []byte
	policy string
	assets http.Handler
}

// reference renders the page once. It is the same for everybody, so the policy can
// allow its scripts by hash, and no other scripts run.
func (a *API) reference() *reference {
	config := swgui.Config{
		Title: "Porchlight API", SwaggerJSON: "/docs/openapi.yaml", BasePath: "/docs",
		SettingsUI: map[string]string{
			"displayRequestDuration": "true",
			"tryItOutEnabled":        "true",
			"persistAuthorization":   "false",
			"docExpansion":           `"list"`,
		},
	}
	head, _ := fragment("reference-head", nil) // the same in every binary: tests look at both
	site, _ := fragment("site", nil)
	config.AppendHead, config.PrependHTML = head, site
	if a.DemoToken != "" {
		config.PreAuthorizeApiKey = map[string]string{"bearer": a.DemoToken}
	}
	swagger := v5emb.NewHandlerWithConfig(config)
	page := &capture{header: make(http.Header)}
	swagger.ServeHTTP(page, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/docs/"}})
	html := page.body.Bytes()
	return &reference{html: html, policy: referencePolicy(html), assets: swagger}
}

// A capture records a response.
type capture struct {
	header http.Header
	body   bytes.Buffer
}

func (c *capture) Header() http.Header         { return c.header }
func (c *capture) Write(b []byte) (int, error) { return c.body.Write(b) }
func (c *capture) WriteHeader(int)             {}

var inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)

func referencePolicy(html []byte) string {
	var hashes strings.Builder
	for _, script := range inlineScript.FindAllSubmatch(html, -1) {
		sum := sha256.Sum256(script[1])
		fmt.Fprintf(&hashes, " 'sha256-%s'", base64.StdEncoding.EncodeToString(sum[:]))
	}
	return "default-src 'none'; script-src 'self'" + hashes.String() +
		"; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'" +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

func (ref *reference) page(w http.ResponseWriter, _ *http.Request) error {
	(&ui.Page{}).SetHeaders(w.Header())
	header(w, "Content-Security-Policy", ref.policy)
	_, err := w.Write(ref.html)
	return err
}

// assets are the files that the page loads. Other embedded files are not served,
// because one of them is a page of its own.
var assets = map[string]bool{
	"swagger-ui.css": true, "swagger-ui-bundle.js": true, "swagger-ui-standalone-preset.js": true,
	"favicon-16x16.png": true, "favicon-32x32.png": true,
}

func (ref *reference) asset(w http.ResponseWriter, r *http.Request) error {
	if !assets[r.PathValue("asset")] {
		return wire.ErrNoRoute
	}
	header(w, "Cache-Control", "public, max-age=3600")
	header(w, "X-Content-Type-Options", "nosniff")
	ref.assets.ServeHTTP(w, r)
	return nil
}
