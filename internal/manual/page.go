package manual

import (
	"bytes"
	"html/template"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	tables "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"porchlight.dev/porchlight/docs"
)

// A page is a file of docs. Its JSON is its part of the index for the search.
type page struct {
	Name     string        `json:"name"`
	Title    string        `json:"title"`
	Text     template.HTML `json:"-"`
	Sections []section     `json:"sections"`
}

// A section is a heading with the text up to the next one.
type section struct {
	ID      string `json:"id"`
	Heading string `json:"heading"`
	Text    string `json:"text"`
	Level   int    `json:"-"`
}

func newPage(name string) (*page, error) {
	source, err := docs.Served.ReadFile(name + ".md")
	if err != nil {
		return nil, err
	}
	markdown := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(
		parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(servedLinks{path.Dir(name)}, 0)),
	))
	doc := markdown.Parser().Parse(text.NewReader(source))
	p := &page{Name: name, Sections: sections(doc, source)}
	p.Title = p.Sections[0].Heading
	prepare(doc)
	var body bytes.Buffer
	err = markdown.Renderer().Render(&body, source, doc)
	p.Text = template.HTML(body.String()) //nolint:gosec // the renderer escapes
	return p, err
}

// sections divides a page at its headings. The first is that of the page.
func sections(doc ast.Node, source []byte) []section {
	var all []section
	for block := doc.FirstChild(); block != nil; block = block.NextSibling() {
		words := plain(block, source)
		if heading, ok := block.(*ast.Heading); ok {
			all = append(all, section{ID: id(heading), Heading: words, Level: heading.Level})
		} else if len(all) > 0 && words != "" {
			last := &all[len(all)-1]
			last.Text = strings.TrimSpace(last.Text + " " + words)
		}
	}
	return all
}

func id(heading *ast.Heading) string {
	value, _ := heading.AttributeString("id")
	bytes, _ := value.([]byte) // the parser gives one to every heading
	return string(bytes)
}

// plain is the text of a block, with single spaces.
func plain(block ast.Node, source []byte) string {
	var out strings.Builder
	_ = ast.Walk(block, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the walker never fails
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				out.Write(n.Segment.Value(source))
				if n.SoftLineBreak() || n.HardLineBreak() {
					out.WriteByte(' ')
				}
			}
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			if entering {
				out.Write(n.Lines().Value(source))
			}
		default:
			if n.Type() == ast.TypeBlock {
				out.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return strings.Join(strings.Fields(out.String()), " ")
}

// prepare adds to each heading below the first a link to itself, and lets the keyboard scroll
// tables, which can be wider than the window.
func prepare(doc ast.Node) {
	for block := doc.FirstChild(); block != nil; block = block.NextSibling() {
		if block.Kind() == tables.KindTable {
			block.SetAttributeString("tabindex", []byte("0"))
		}
		heading, ok := block.(*ast.Heading)
		if !ok || heading.Level == 1 {
			continue
		}
		link := ast.NewLink()
		link.Destination = []byte("#" + id(heading))
		link.SetAttributeString("class", []byte("anchor"))
		link.SetAttributeString("aria-label", []byte("Link to this section"))
		link.AppendChild(link, ast.NewString([]byte("#")))
		heading.AppendChild(heading, link)
	}
}

// servedLinks turns links to files of the repository into links to this server's pages.
// A link to a file that is not served is replaced by its text. dir has the page.
type servedLinks struct{ dir string }

func (s servedLinks) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var dead []*ast.Link
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the walker never fails
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Image:
			n.Destination = []byte("/help/" + path.Join(s.dir, string(n.Destination)))
		case *ast.Link:
			to, served := s.link(string(n.Destination))
			n.Destination = []byte(to)
			if !served {
				dead = append(dead, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, link := range dead {
		unlink(link)
	}
}

func unlink(link *ast.Link) {
	parent := link.Parent()
	for child := link.FirstChild(); child != nil; child = link.FirstChild() {
		parent.InsertBefore(parent, link, child)
	}
	parent.RemoveChild(parent, link)
}

func (s servedLinks) link(to string) (string, bool) {
	if strings.HasPrefix(to, "#") || strings.HasPrefix(to, "/") || strings.Contains(to, "://") {
		return to, true
	}
	file, fragment, found := strings.Cut(to, "#")
	file = path.Join(s.dir, file)
	if _, err := docs.Served.ReadFile(file); err != nil {
		return to, false
	}
	served := "/help/" + strings.TrimSuffix(file, ".md")
	if found {
		served += "#" + fragment
	}
	return served, true
}
