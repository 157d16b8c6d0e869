package ui

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

// A Page is what one page has in place of the others. All have the same head, the links to
// the sections and the style sheet.
type Page struct {
	Title   string
	Section string        // address of the section that the page belongs to; "": none
	Script  string        // asset that draws the page; "": the page has no script
	Styles  []string      // assets, beside the common style sheet
	Layout  string        // class of the body: "" for a column, "text", "wide" or "full"
	Body    template.HTML // what the script replaces, or the whole text of a page without one
	Bare    bool          // without the links, for questions that are to be answered first

	// DemoToken is an access token that everybody who opens the page may use; "": none.
	DemoToken string
}

// A section is what the links at the top of every page lead to.
type section struct {
	Path, Name        string
	ForAdministrators bool
}

func sections() []section {
	return []section{
		{"/", "Board", false},
		{"/me", "My status", false},
		{"/admin", "Administration", true},
		{"/docs", "API", false},
		{"/help", "Help", false},
	}
}

//go:embed page.html
var layoutText string

var layout = template.Must(template.New("page").Funcs(template.FuncMap{
	"asset": URL, "importMap": importMapScript, "sections": sections,
	"modules": func(script string) []string { return loaded().loads[script]() },
}).Parse(layoutText))

// Render returns the text of the page.
func (p *Page) Render() ([]byte, error) {
	var page bytes.Buffer
	err := layout.Execute(&page, p)
	return page.Bytes(), err
}

// Policy is the content security policy of the page: its own files and requests to its own
// server, and the import map by its hash.
func (p *Page) Policy() string {
	const common = "style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if p.Script == "" {
		return "default-src 'none'; " + common
	}
	return "default-src 'none'; script-src 'self' " + hash(importMap()) + "; connect-src 'self'; " + common
}

// Serve answers a GET with the page. Browsers revalidate it each time, so that they find the
// scripts of the server's version.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request) error {
	page, err := p.Render()
	if err != nil {
		return err
	}
	p.SetHeaders(w.Header())
	w.Header().Set("Etag", entityTag(page))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(page))
	return nil
}

// SetHeaders sets the headers that every page has.
func (p *Page) SetHeaders(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.Policy())
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}
