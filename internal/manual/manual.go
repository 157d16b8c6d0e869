// Package manual serves the documentation to people at /help: every page of docs in one
// order, with a table of contents, links to the pages before and after, and a search.
//
// It is separate from ui because it renders Markdown, and from httpapi because the
// documentation is no part of an API. It guarantees that every page is in the contents, and
// that links between the files of the repository lead to pages of this server; a link to a
// file that is not served becomes text.
//
// It must not have words of its own about the product: they are in docs.
package manual

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"

	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

// Manual serves the pages. Set Dialect, in which errors are written, then Mount.
type Manual struct {
	Dialect wire.Dialect
	Site    *wire.Site // nil: the pages are served under every name
}

// Mount adds the routes.
func (m *Manual) Mount(rt *wire.Router) {
	read := sync.OnceValues(newBook)
	for pattern, serve := range map[string]func(*book, http.ResponseWriter, *http.Request) error{
		"/help":            (*book).serveContents,
		"/help/{page...}":  (*book).serve,
		"/help/index.json": (*book).serveIndex,
		"/docs/{page}":     (*book).redirect,
	} {
		rt.Handle(http.MethodGet, pattern, m.Dialect, m.Site.OwnHost(func(w http.ResponseWriter, r *http.Request) error {
			b, err := read()
			if err != nil {
				return err
			}
			return serve(b, w, r)
		}))
	}
}

// A book is the documentation, rendered. It does not change.
type book struct {
	chapters []shownChapter
	pages    []*page // of all chapters
	byName   map[string]*page
	index    *ui.File
}

// newBook renders every page. The files are the same in every process of a binary.
func newBook() (*book, error) {
	b := &book{byName: make(map[string]*page)}
	chapters, err := contents()
	if err != nil {
		return nil, err
	}
	for _, chapter := range chapters {
		shown := shownChapter{Title: chapter.Title}
		for _, name := range chapter.Names {
			p, err := newPage(name)
			if err != nil {
				return nil, fmt.Errorf("render docs/%s.md: %w", name, err)
			}
			b.byName[name] = p
			b.pages = append(b.pages, p)
			shown.Pages = append(shown.Pages, p)
		}
		b.chapters = append(b.chapters, shown)
	}
	index, err := json.Marshal(map[string]any{"pages": b.pages})
	b.index = ui.NewFile("application/json", index)
	return b, err
}

// serveIndex answers with the text of all pages, by sections, for the search.
func (b *book) serveIndex(w http.ResponseWriter, r *http.Request) error {
	return b.index.Serve(w, r, "no-cache")
}

// redirect leads to the page from its address in earlier versions. Browsers keep the fragment.
func (b *book) redirect(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("page")
	if _, err := docs.Served.ReadFile(name); err != nil && b.byName[name] == nil {
		return wire.ErrNoRoute
	}
	w.Header().Set("Location", "/help/"+name)
	w.WriteHeader(http.StatusMovedPermanently)
	return nil
}

func (b *book) serve(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("page")
	if p := b.byName[name]; p != nil {
		return b.show(w, r, p)
	}
	picture, err := docs.Served.ReadFile(name)
	if err != nil || !strings.HasSuffix(name, ".svg") {
		return wire.ErrNoRoute
	}
	return ui.NewFile("image/svg+xml", picture).Serve(w, r, "no-cache")
}

func (b *book) serveContents(w http.ResponseWriter, r *http.Request) error {
	return b.show(w, r, &page{Title: "Help"})
}

// A view is what the template shows: a page with its neighbours, or the contents alone.
type view struct {
	*page
	Before, After *page
	Chapters      []shownChapter
}

type shownChapter struct {
	Title string
	Pages []*page
}

//go:embed manual.html
var manualText string

var layout = template.Must(template.New("manual").Parse(manualText))

func (b *book) show(w http.ResponseWriter, r *http.Request, p *page) error {
	v := view{page: p, Chapters: b.chapters}
	for i, other := range b.pages {
		if other == p {
			v.Before, v.After = b.at(i-1), b.at(i+1)
		}
	}
	var body bytes.Buffer
	if err := layout.Execute(&body, v); err != nil {
		return err
	}
	return (&ui.Page{
		Title: p.Title, Section: "/help", Layout: "wide", Script: "help.js", Styles: []string{"help.css"}, Body: template.HTML(body.String()), //nolint:gosec // the template escapes
	}).Serve(w, r)
}

func (b *book) at(i int) *page {
	if i < 0 || i >= len(b.pages) {
		return nil
	}
	return b.pages[i]
}
