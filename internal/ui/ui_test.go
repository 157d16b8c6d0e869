package ui_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/ui"
	"porchlight.dev/porchlight/internal/wire"
)

type dialect struct{}

func (dialect) Fail(w http.ResponseWriter, _ *http.Request, err error) {
	status := http.StatusInternalServerError
	if errors.Is(err, wire.ErrNoRoute) {
		status = http.StatusNotFound
	}
	w.WriteHeader(status)
}

func newRouter(t *testing.T) *wire.Router {
	t.Helper()
	return routerOf(t, &ui.Pages{Dialect: dialect{}})
}

func routerOf(t *testing.T, pages *ui.Pages) *wire.Router {
	t.Helper()
	access := wire.NewAccessLog(io.Discard)
	t.Cleanup(access.Close)
	rt := wire.NewRouter(wire.NewObserver(access, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), dialect{})
	pages.Mount(rt)
	return rt
}

func get(t *testing.T, rt *wire.Router, target string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	rt.ServeHTTP(w, r)
	return w
}

// pages are those that are served by this package.
var pages = []string{"/", "/me", "/signage/a.b", "/signin", "/welcome", "/account", "/device", "/admin", "/admin/users/x", "/docs", "/docs/start"}

// Every page is confined and revalidated, so that it names the scripts of the server's version.
func TestPages(t *testing.T) {
	rt := newRouter(t)
	for _, target := range pages {
		w := get(t, rt, target)
		if w.Code != http.StatusOK || strings.Count(w.Body.String(), "<h1") != 1 {
			t.Errorf("GET %s: %d\n%s", target, w.Code, w.Body)
		}
		var inline []string
		for _, script := range regexp.MustCompile(`<script type="importmap">(.*)</script>`).FindAllStringSubmatch(w.Body.String(), -1) {
			sum := sha256.Sum256([]byte(script[1]))
			inline = append(inline, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
		}
		if len(inline) != 1 || !strings.Contains(w.Header().Get("Content-Security-Policy"), inline[0]) {
			t.Errorf("GET %s: the inline scripts have the hashes %s", target, inline)
		}
		for name, want := range map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("GET %s: %s: %q, want %q", target, name, got, want)
			}
		}
		policy := regexp.MustCompile(`'sha256-[^']{43}='`).ReplaceAllString(w.Header().Get("Content-Security-Policy"), "HASH")
		if policy != "default-src 'none'; script-src 'self' HASH; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" {
			t.Errorf("GET %s: %s", target, policy)
		}
		if again := get(t, rt, target, "If-None-Match", w.Header().Get("Etag")); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("GET %s again: %d", target, again.Code)
		}
	}
	for _, target := range []string{"/me/", "/page.html", "/ui/", "/ui/app.js", "/ui/older/app.js", ui.URL("vendor/preact.LICENSE"), ui.URL("../ui.go"), ui.URL("nothing")} {
		if w := get(t, rt, target); w.Code == http.StatusOK {
			t.Errorf("GET %s: %d", target, w.Code)
		}
	}
}

// The demo's token is filled into the API reference, and nothing in it is markup.
func TestDemoTokenIsFilledIn(t *testing.T) {
	for token, want := range map[string]string{"": `<main id="main" tabindex="-1">`, `"><b>`: `data-demo-token="&#34;&gt;&lt;b&gt;"`} {
		rt := routerOf(t, &ui.Pages{Dialect: dialect{}, DemoToken: token})
		if body := get(t, rt, "/docs").Body.String(); !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// Every asset is kept by browsers, because its address changes with it, and is compressed for
// those that can read that.
func TestAssets(t *testing.T) {
	rt := newRouter(t)
	for _, name := range assets(t) {
		plain := get(t, rt, ui.URL(name))
		zipped := get(t, rt, ui.URL(name), "Accept-Encoding", "gzip, br")
		reader, err := gzip.NewReader(zipped.Body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, err := io.ReadAll(reader)
		if err != nil || string(text) != read(t, "assets/"+name) || string(text) != plain.Body.String() {
			t.Errorf("%s: %v, or other bytes than those of the file", name, err)
		}
		want := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}[name[max(0, len(name)-4):]]
		if want == "" {
			want = "text/javascript; charset=utf-8"
		}
		for _, w := range []*httptest.ResponseRecorder{plain, zipped} {
			h := w.Header()
			if h.Get("Content-Type") != want || h.Get("Cache-Control") != "public, max-age=31536000, immutable" || h.Get("Vary") != "Accept-Encoding" || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %v", name, h)
			}
		}
	}
}

// TestAssetEncodings: a file is compressed for those who accept gzip, and for no others.
func TestAssetEncodings(t *testing.T) {
	rt := newRouter(t)
	for accept, want := range map[string]string{
		"": "", "br": "", "gzipped": "", "identity;q=1": "",
		"gzip": "gzip", "GZip;q=0.001, br": "gzip", "br, x-gzip ; q=1": "gzip", "*": "gzip", "*;q=0.5": "gzip", "*;q=0, gzip": "gzip",
		"gzip;q=0": "", "gzip; Q=0.000, *": "", "*;q=0": "", "gzip;q=high": "",
	} {
		if got := get(t, rt, ui.URL("app.css"), "Accept-Encoding", accept).Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: the content is encoded as %q, want %q", accept, got, want)
		}
	}
}

// assets lists the files that are served.
func assets(t *testing.T) []string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS("assets"), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasSuffix(name, ".LICENSE") {
			names = append(names, name)
		}
		return err
	})
	if err != nil || len(names) < 15 {
		t.Fatalf("%v: %v", names, err)
	}
	return names
}

// The policy would stop what is inline, and what comes from elsewhere: there is
// none to be stopped but the import map, which has its hash.
func TestPagesKeepTheirPolicy(t *testing.T) {
	rt := newRouter(t)
	for _, target := range pages {
		w := get(t, rt, target)
		page := regexp.MustCompile(`<script type="importmap">[^<]*</script>`).ReplaceAllString(w.Body.String(), "")
		if found := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\s(?:style|on[a-z]+)=|="javascript:`).FindString(page); found != "" {
			t.Errorf("%s has %q", target, found)
		}
		for _, match := range regexp.MustCompile(`(?:src|href)="(/ui/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			if loaded := get(t, rt, match[1]); loaded.Code != http.StatusOK {
				t.Errorf("%s loads %s: %d", target, match[1], loaded.Code)
			}
		}
		if found := regexp.MustCompile(`src="(?:[^/]|/[^u])`).FindString(page); found != "" {
			t.Errorf("%s loads %s", target, found)
		}
	}
}

// Scripts insert server text as text only, keep nothing beyond the tab, and import only
// modules that exist.
func TestScripts(t *testing.T) {
	bare := []string{"preact", "preact/hooks", "htm"}
	for _, name := range assets(t) {
		if !strings.HasSuffix(name, ".js") {
			continue
		}
		script := read(t, "assets/"+name)
		if found := regexp.MustCompile(`[iI]nnerHTML|dangerouslySet|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|localStorage|console\.`).FindString(script); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		for _, match := range regexp.MustCompile(`[\s;}](?:from|import\(|import) ?"([^"]*)"`).FindAllStringSubmatch(script, -1) {
			if slices.Contains(bare, match[1]) {
				continue
			}
			file := path.Join("assets", path.Dir(name), match[1])
			if file == "assets/client.js" {
				file = "../../sdk/javascript/client.js"
			}
			if _, err := os.Stat(file); err != nil || !strings.HasPrefix(match[1], ".") {
				t.Errorf("%s imports %s: %v", name, match[1], err)
			}
		}
		// A template with a field that has no label would be announced by its type alone.
		for _, match := range regexp.MustCompile(`<(?:input|select|textarea) [^>]*>`).FindAllString(script, -1) {
			id := regexp.MustCompile(` id="([^"]*)"`).FindStringSubmatch(match)
			labelled := strings.Contains(match, "aria-label") || strings.Contains(match, `type="checkbox"`) || strings.Contains(match, `type="radio"`) || strings.Contains(match, "id=${")
			if !labelled && (id == nil || !strings.Contains(script, `id="`+id[1]+`" label=`) && !strings.Contains(script, `<label for="`+id[1]+`"`)) {
				t.Errorf("%s: %s has no label", name, match)
			}
		}
	}
}

// A page loads all that its script imports at once, instead of one after another.
func TestPreload(t *testing.T) {
	page := get(t, newRouter(t), "/account").Body.String()
	for _, name := range []string{"account.js", "app.js", "components.js", "client.js", "texts/account.js", "vendor/preact.mjs", "vendor/hooks.mjs", "vendor/htm.mjs"} {
		if !strings.Contains(page, `<link rel="modulepreload" href="`+ui.URL(name)+`">`) {
			t.Errorf("the page does not preload %s", name)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
