package ui_test

import (
	"errors"
	"io"
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
	access := wire.NewAccessLog(io.Discard)
	t.Cleanup(access.Close)
	rt := wire.NewRouter(wire.NewObserver(access, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), dialect{})
	(&ui.Pages{Dialect: dialect{}}).Mount(rt)
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

// Every part is confined, revalidated, and served as what it is.
func TestParts(t *testing.T) {
	rt := newRouter(t)
	for target, mediaType := range map[string]string{
		"/":              "text/html; charset=utf-8",
		"/me":            "text/html; charset=utf-8",
		"/signin":        "text/html; charset=utf-8",
		"/welcome":       "text/html; charset=utf-8",
		"/account":       "text/html; charset=utf-8",
		"/ui/account.js": "text/javascript; charset=utf-8",
		"/ui/enter.js":   "text/javascript; charset=utf-8",
		"/ui/welcome.js": "text/javascript; charset=utf-8",
		"/ui/base.css":   "text/css; charset=utf-8",
		"/ui/style.css":  "text/css; charset=utf-8",
		"/ui/docs.css":   "text/css; charset=utf-8",
		"/ui/board.js":   "text/javascript; charset=utf-8",
		"/ui/me.js":      "text/javascript; charset=utf-8",
		"/ui/people.js":  "text/javascript; charset=utf-8",
		"/ui/signin.js":  "text/javascript; charset=utf-8",
		"/ui/stream.js":  "text/javascript; charset=utf-8",
		"/ui/view.js":    "text/javascript; charset=utf-8",
		"/ui/icon.svg":   "image/svg+xml",
	} {
		w := get(t, rt, target)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s: %d with %d bytes", target, w.Code, w.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type": mediaType, "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("GET %s: %s: %q, want %q", target, name, got, want)
			}
		}
		tag := w.Header().Get("Etag")
		if again := get(t, rt, target, "If-None-Match", tag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("GET %s again with %q: %d", target, tag, again.Code)
		}
	}
	for _, target := range []string{"/me/", "/board.html", "/ui/", "/ui/me.html", "/ui/ui.go", "/ui/nothing"} {
		if w := get(t, rt, target); w.Code != http.StatusNotFound {
			t.Errorf("GET %s: %d, want 404", target, w.Code)
		}
	}
}

// The policy would stop what is inline, and what comes from elsewhere: there is
// none to be stopped. Server text is never markup.
func TestThePageKeepsItsPolicy(t *testing.T) {
	rt := newRouter(t)
	for _, target := range []string{"/", "/me", "/signin", "/welcome", "/account"} {
		page := get(t, rt, target).Body.String()
		if found := regexp.MustCompile(`(?i)<style|<script(?: [^>]*)?>[^<]|\s(?:style|on[a-z]+)=|="javascript:`).FindString(page); found != "" {
			t.Errorf("%s has %q", target, found)
		}
		for _, match := range regexp.MustCompile(`(?:src|href)="(/ui/[^"]*)"`).FindAllStringSubmatch(page, -1) {
			if w := get(t, rt, match[1]); w.Code != http.StatusOK {
				t.Errorf("%s loads %s: %d", target, match[1], w.Code)
			}
		}
		if found := regexp.MustCompile(`src="(?:[^/]|/[^u])`).FindString(page); found != "" {
			t.Errorf("%s loads %s", target, found)
		}
	}
	for _, name := range scripts {
		script := get(t, rt, "/ui/"+name).Body.String()
		if found := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|localStorage|console\.`).FindString(script); found != "" {
			t.Errorf("%s has %s", name, found)
		}
		for _, match := range regexp.MustCompile(`from "([^"]*)"`).FindAllStringSubmatch(script, -1) {
			if w := get(t, rt, path.Join("/ui", match[1])); !strings.HasPrefix(match[1], "./") || w.Code != http.StatusOK {
				t.Errorf("%s imports %s: %d", name, match[1], w.Code)
			}
		}
	}
}

var scripts = []string{"account.js", "board.js", "enter.js", "welcome.js", "me.js", "people.js", "signin.js", "stream.js", "view.js"}

// Every element that the script takes by its id is in the page, and every input
// has a label.
func TestTheScriptFindsItsElements(t *testing.T) {
	for page, script := range map[string]string{
		"board.html": "board.js", "me.html": "me.js", "signin.html": "enter.js", "welcome.html": "welcome.js", "account.html": "account.js",
	} {
		page, text := read(t, page), read(t, script)
		if strings.Contains(text, "onSignIn") {
			text += read(t, "signin.js")
		}
		ids := regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1)
		for _, match := range regexp.MustCompile(`(?:\$|put|getElementById)\("([^"]*)"`).FindAllStringSubmatch(text, -1) {
			if !slices.ContainsFunc(ids, func(id []string) bool { return id[1] == match[1] }) {
				t.Errorf("%s asks for #%s, which the page has not", script, match[1])
			}
		}
		for _, match := range regexp.MustCompile(`<(?:input|select) id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
			if !strings.Contains(page, `<label for="`+match[1]+`"`) {
				t.Errorf("%s: #%s has no label", script, match[1])
			}
		}
		if n := strings.Count(page, "<h1"); n != 1 {
			t.Errorf("%s: %d h1, want one", script, n)
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
