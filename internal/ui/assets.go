package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"porchlight.dev/porchlight/internal/wire"
	"porchlight.dev/porchlight/sdk/javascript"
)

//go:embed assets
var embedded embed.FS

// A File is a script, a style sheet, a picture or data that pages load. It does not change.
type File struct {
	content   []byte
	mediaType string
	tag       string
	zipped    func() []byte // compressed once, when a client first asks for it
}

// NewFile returns a file with this content.
func NewFile(mediaType string, content []byte) *File {
	return &File{content, mediaType, entityTag(content), sync.OnceValue(func() []byte { return compress(content) })}
}

// Serve answers a GET with the file, compressed for clients that can read that. cache is the
// value of Cache-Control.
func (f *File) Serve(w http.ResponseWriter, r *http.Request, cache string) error {
	h := w.Header()
	h.Set("Content-Type", f.mediaType)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'") // pictures have styles of their own
	h.Set("Cache-Control", cache)
	h.Set("Etag", "W/"+f.tag) // weak, because there are two encodings
	h.Set("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	content := f.content
	if acceptsGzip(r.Header.Values("Accept-Encoding")) && r.Header.Get("Range") == "" {
		h.Set("Content-Encoding", "gzip")
		content = f.zipped()
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// acceptsGzip reports whether a client with these Accept-Encoding headers reads gzip (RFC
// 9110 §12.5.3): the coding, or else "*", is listed with a weight other than zero.
func acceptsGzip(headers []string) bool {
	accepted := false
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		coding, parameter, _ := strings.Cut(part, ";")
		_, value, weighted := strings.Cut(parameter, "=")
		weight, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		positive := !weighted || err == nil && weight > 0
		switch strings.ToLower(strings.TrimSpace(coding)) {
		case "gzip", "x-gzip":
			return positive
		case "*":
			accepted = positive
		}
	}
	return accepted
}

func entityTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// assets are all files below the directory assets, by their names there, and the module that
// the pages share with the JavaScript SDK. Their addresses have the version, which is a digest
// of all of them: a browser may keep each for ever, and a page never runs with scripts of
// another version of the server.
type assets struct {
	version string
	files   map[string]*File
	loads   map[string]func() []string // what modules finds, by script, searched once
}

// loaded has the embedded files. They are the same in every process of a binary.
var loaded = sync.OnceValue(loadAssets)

func loadAssets() *assets {
	a := &assets{files: make(map[string]*File), loads: make(map[string]func() []string)}
	root, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err) // the directory is embedded
	}
	digest := sha256.New()
	for _, files := range []fs.FS{root, javascript.Served} {
		_ = fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error { // embedded files are readable
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := fs.ReadFile(files, name)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(digest, "%s %d\n", name, len(content)) // a hash never fails
			_, _ = digest.Write(content)
			a.add(name, content)
			return nil
		})
	}
	a.version = base64.RawURLEncoding.EncodeToString(digest.Sum(nil)[:9])
	return a
}

func (a *assets) add(name string, content []byte) {
	if mediaType, ok := mediaTypes[path.Ext(name)]; ok {
		a.files[name] = NewFile(mediaType, content)
		a.loads[name] = sync.OnceValue(func() []string { return a.modules(name) })
	}
}

// mediaTypes are fixed because package mime depends on the machine. Other files, such as
// licences, are embedded but not served.
var mediaTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  script,
	".mjs": script,
	".svg": "image/svg+xml",
}

const script = "text/javascript; charset=utf-8"

func compress(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = w.Write(content)                                 // a buffer takes all
	_ = w.Close()
	return out.Bytes()
}

// URL is the address of an asset of this version, such as "app.css".
func URL(name string) string {
	return "/ui/" + loaded().version + "/" + name
}

// serve answers GET /ui/{version}/{file...}.
func (a *assets) serve(w http.ResponseWriter, r *http.Request) error {
	file := a.files[r.PathValue("file")]
	if file == nil || r.PathValue("version") != a.version {
		return wire.ErrNoRoute
	}
	return file.Serve(w, r, "public, max-age=31536000, immutable")
}

// bare are the modules that scripts import by name instead of by path.
var bare = map[string]string{"preact": "vendor/preact.mjs", "preact/hooks": "vendor/hooks.mjs", "htm": "vendor/htm.mjs"}

// importMap is the inline script that gives browsers the addresses of bare modules.
var importMap = sync.OnceValue(func() string {
	addresses := make(map[string]string, len(bare))
	for name, file := range bare {
		addresses[name] = URL(file)
	}
	text, _ := json.Marshal(map[string]any{"imports": addresses}) // strings only
	return string(text)
})

var imported = regexp.MustCompile(`(?:^|[\s;}])(?:import|from)\s*"([^"]+)"`)

// modules lists a script and all that it imports, so that a page can load them at once
// instead of one after another. Imports by import() are not listed: they are for later.
func (a *assets) modules(name string) []string {
	found := []string{name}
	for i := 0; i < len(found); i++ {
		file := a.files[found[i]]
		if file == nil {
			continue
		}
		for _, match := range imported.FindAllSubmatch(file.content, -1) {
			next, ok := bare[string(match[1])]
			if !ok {
				next = path.Join(path.Dir(found[i]), string(match[1]))
			}
			if !slices.Contains(found, next) {
				found = append(found, next)
			}
		}
	}
	return found
}

// hash is a source of a content security policy: the inline script with this text may run.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// importMapScript is the element with the import map, for templates.
func importMapScript() template.HTML {
	return template.HTML(`<script type="importmap">` + importMap() + `</script>`) //nolint:gosec // it is made from constants
}
