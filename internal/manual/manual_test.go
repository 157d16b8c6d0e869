package manual_test

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/docs"
	"porchlight.dev/porchlight/internal/manual"
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

// getter returns a function that sends a GET, each only once.
func getter(t *testing.T) func(target string) *httptest.ResponseRecorder {
	t.Helper()
	access := wire.NewAccessLog(io.Discard)
	t.Cleanup(access.Close)
	rt := wire.NewRouter(wire.NewObserver(access, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), time.Now), dialect{})
	(&manual.Manual{Dialect: dialect{}}).Mount(rt)
	answers := make(map[string]*httptest.ResponseRecorder)
	return func(target string) *httptest.ResponseRecorder {
		w, ok := answers[target]
		if !ok {
			w = httptest.NewRecorder()
			rt.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody))
			answers[target] = w
		}
		return w
	}
}

// names are those of all files of the documentation.
func names(t *testing.T) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(docs.Served, ".", func(file string, _ fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(file, ".md"); ok {
			all = append(all, name)
		}
		return err
	})
	if err != nil || len(all) < 25 {
		t.Fatalf("%v: %v", err, all)
	}
	return all
}

// TestEveryPage: each file has a page, which is in the contents and can be reached by
// following the links to the next page.
func TestEveryPage(t *testing.T) {
	get := getter(t)
	contents := get("/help").Body.String()
	for _, name := range names(t) {
		w := get("/help/" + name)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<article class="manual">`) {
			t.Errorf("/help/%s: %d: it is not in the contents", name, w.Code)
		}
		if strings.Count(contents, `href="/help/`+name+`"`) != 1 {
			t.Errorf("the contents do not have %s once", name)
		}
	}
	seen, at := 0, "/help/getting-started"
	for next := regexp.MustCompile(`<a href="([^"]*)" rel="next">`); at != ""; seen++ {
		found := next.FindStringSubmatch(get(at).Body.String())
		if at = ""; found != nil {
			at = found[1]
		}
	}
	if want := len(names(t)); seen != want {
		t.Errorf("%d pages follow each other, want %d", seen, want)
	}
}

// TestLinks follows every link of every page: none is dead, also where the file has links
// to files that are not served.
func TestLinks(t *testing.T) {
	get := getter(t)
	link := regexp.MustCompile(`(?:src|href)="([^"#]*)(#[^"]*)?"`)
	for _, name := range append(names(t), "") {
		page := strings.TrimSuffix("/help/"+name, "/")
		body := get(page).Body.String()
		for _, found := range link.FindAllStringSubmatch(body, -1) {
			target, fragment := found[1], found[2]
			if target == "" {
				target = page
			}
			if !strings.HasPrefix(target, "/help") {
				if !regexp.MustCompile(`^(https?://.*|/ui/.*|/|/me|/admin|/docs|/docs/start|/docs/problems)$`).MatchString(target) {
					t.Errorf("%s links to %s", page, target)
				}
				continue // elsewhere, or served by another package
			}
			w := get(target)
			if w.Code != http.StatusOK || fragment != "" && fragment != "#main" && !strings.Contains(w.Body.String(), `id="`+fragment[1:]+`"`) {
				t.Errorf("%s links to %s%s, where there is nothing: %d", page, target, fragment, w.Code)
			}
		}
	}
	if body := get("/help/concepts").Body.String(); !strings.Contains(body, `src="/help/presence.svg"`) || strings.Contains(body, ".md\"") {
		t.Errorf("%s", body)
	}
}

// TestEarlierAddresses: pages were below /docs once.
func TestEarlierAddresses(t *testing.T) {
	get := getter(t)
	for target, want := range map[string]string{
		"/docs/concepts": "/help/concepts", "/docs/presence.svg": "/help/presence.svg", "/docs/cli": "/help/cli",
		"/docs/nothing": "", "/help/nothing": "", "/help/concepts.md": "", "/help/guides": "", "/help/docs.go": "", "/help/": "",
	} {
		w := get(target)
		if status := map[bool]int{true: http.StatusNotFound, false: http.StatusMovedPermanently}[want == ""]; w.Code != status || w.Header().Get("Location") != want {
			t.Errorf("%s: %d %s, want %s", target, w.Code, w.Header().Get("Location"), want)
		}
	}
}

// TestIndex: the search finds the text of every page, below its heading.
func TestIndex(t *testing.T) {
	get := getter(t)
	var index struct {
		Pages []struct {
			Name, Title string
			Sections    []struct{ ID, Heading, Text string }
		}
	}
	w := get("/help/index.json")
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Pages) != len(names(t)) {
		t.Errorf("%d pages, want %d", len(index.Pages), len(names(t)))
	}
	found := false
	for _, page := range index.Pages {
		body := get("/help/" + page.Name).Body.String()
		for _, section := range page.Sections {
			if !strings.Contains(body, `id="`+section.ID+`"`) {
				t.Errorf("%s has no section %q", page.Name, section.ID)
			}
			found = found || page.Name == "concepts" && section.Heading == "Precedence" && strings.Contains(section.Text, "manual claim")
		}
	}
	if !found {
		t.Error("the precedence table is not found")
	}
}
