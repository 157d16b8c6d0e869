package httpapi

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	goldmarktext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

// manual returns the handlers of the embedded documentation, by path.
func manual() map[string]wire.Handler {
	files, _ := docs.Served.ReadDir(".") // it exists in every binary
	handlers := make(map[string]wire.Handler, len(files))
	for _, file := range files {
		if name, ok := strings.CutSuffix(file.Name(), ".md"); ok {
			handlers["/docs/"+name] = manualText(file.Name())
		} else {
			handlers["/docs/"+file.Name()] = picture(file.Name())
		}
	}
	return handlers
}

func manualText(file string) wire.Handler {
	rendered := sync.OnceValues(func() (*ui.Page, error) { return renderManual(file) })
	return func(w http.ResponseWriter, r *http.Request) error {
		page, err := rendered()
		if err != nil {
			return err
		}
		return page.Serve(w, r)
	}
}

func renderManual(file string) (*ui.Page, error) {
	source, err := docs.Served.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	markdown := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(
		parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(servedLinks{}, 0)),
	))
	var body bytes.Buffer
	if err := markdown.Convert(source, &body); err != nil {
		return nil, fmt.Errorf("render %s: %w", file, err)
	}
	title, _, _ := strings.Cut(strings.TrimPrefix(string(source), "# "), "\n")
	return render("manual", title, template.HTML(body.Bytes()))
}

func picture(file string) wire.Handler {
	return func(w http.ResponseWriter, _ *http.Request) error {
		header(w, "Content-Type", "image/svg+xml")
		header(w, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		header(w, "Cache-Control", "no-cache")
		header(w, "X-Content-Type-Options", "nosniff")
		data, err := docs.Served.ReadFile(file)
		if err == nil {
			_, err = w.Write(data)
		}
		return err
	}
}

// servedLinks turns links to files of the repository into links to this server's pages.
// A link to a file that is not served is replaced by its text.
type servedLinks struct{}

func (servedLinks) Transform(doc *ast.Document, _ goldmarktext.Reader, _ parser.Context) {
	var dead []*ast.Link
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the walker never fails
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Image:
			n.Destination = []byte("/docs/" + string(n.Destination))
		case *ast.Link:
			to, served := servedLink(string(n.Destination))
			n.Destination = []byte(to)
			if !served {
				dead = append(dead, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, link := range dead {
		parent := link.Parent()
		for child := link.FirstChild(); child != nil; child = link.FirstChild() {
			parent.InsertBefore(parent, link, child)
		}
		parent.RemoveChild(parent, link)
	}
}

func servedLink(to string) (string, bool) {
	if strings.HasPrefix(to, "#") || strings.Contains(to, "://") {
		return to, true
	}
	file, fragment, found := strings.Cut(to, "#")
	if _, err := docs.Served.ReadFile(file); err != nil {
		return to, false
	}
	served := "/docs/" + strings.TrimSuffix(path.Base(file), ".md")
	if found {
		served += "#" + fragment
	}
	return served, true
}
