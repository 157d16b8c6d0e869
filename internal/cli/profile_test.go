package cli

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"porchlight.dev/porchlight/client"
	"porchlight.dev/porchlight/internal/config"
)

// shellWith has the environment env, and the flags in given.
func shellWith(t *testing.T, env map[string]string, given ...string) *shell {
	t.Helper()
	flags := make(map[string]bool)
	for _, name := range given {
		flags[name] = true
	}
	return &shell{
		ctx: t.Context(), getenv: func(name string) string { return env[name] }, stderr: new(strings.Builder),
		given: func(name string) bool { return flags[name] },
	}
}

func saveProfile(t *testing.T, p profiles, name string, v profile) {
	t.Helper()
	if err := p.locked(t.Context(), func() error { return p.save(name, &v) }); err != nil {
		t.Fatal(err)
	}
}

// TestPrecedence: flags, then variables, then the profile, then the defaults; and no server
// gets what is meant for another one.
func TestPrecedence(t *testing.T) {
	home := t.TempDir()
	p := shellWith(t, map[string]string{"HOME": home}).profiles()
	later := time.Now().Add(time.Hour)
	saveProfile(t, p, "work", profile{URL: "https://work.example", AccessToken: "w", RefreshToken: "r", Expires: later})
	saveProfile(t, p, "test", profile{URL: "https://test.example", AccessToken: "t"})
	saveProfile(t, p, "out", profile{URL: "https://out.example"})
	type env = map[string]string
	for name, c := range map[string]struct {
		current string
		flags   config.Connection
		env     env
		url     string // "": an error
		token   string // the profile's or another, or the text of the error
	}{
		"nothing":                       {"", config.Connection{}, nil, "", "no credentials for " + config.DefaultURL},
		"a token, no profile":           {"", config.Connection{}, env{"PORCHLIGHT_TOKEN": "own"}, config.DefaultURL, "own"},
		"current profile":               {"work", config.Connection{}, nil, "https://work.example", "w"},
		"variable names profile":        {"work", config.Connection{}, env{"PORCHLIGHT_PROFILE": "test"}, "https://test.example", "t"},
		"flag over variable":            {"out", config.Connection{Profile: "work"}, env{"PORCHLIGHT_PROFILE": "test"}, "https://work.example", "w"},
		"a token over current":          {"work", config.Connection{}, env{"PORCHLIGHT_TOKEN": "own"}, config.DefaultURL, "own"},
		"a token and URL over current":  {"work", config.Connection{URL: "https://x.example"}, env{"PORCHLIGHT_TOKEN": "own"}, "https://x.example", "own"},
		"a token over named":            {"", config.Connection{Profile: "work"}, env{"PORCHLIGHT_TOKEN": "own"}, "https://work.example", "own"},
		"a token and another URL":       {"", config.Connection{Profile: "work"}, env{"PORCHLIGHT_TOKEN": "own", "PORCHLIGHT_URL": "https://x.example"}, "https://x.example", "own"},
		"the URL of current":            {"work", config.Connection{URL: "https://work.example/"}, nil, "https://work.example/", "w"},
		"another URL, current":          {"work", config.Connection{URL: "https://x.example"}, nil, "", "no credentials for https://x.example"},
		"another URL by variable":       {"work", config.Connection{}, env{"PORCHLIGHT_URL": "https://x.example"}, "", "no credentials for https://x.example"},
		"another URL, named":            {"", config.Connection{URL: "https://x.example", Profile: "work"}, nil, "", "its login is not sent to https://x.example"},
		"a URL that begins like it":     {"", config.Connection{URL: "https://work.example.evil", Profile: "work"}, nil, "", "its login is not sent"},
		"plain HTTP":                    {"", config.Connection{URL: "http://work.example", Profile: "work"}, nil, "", "its login is not sent"},
		"not logged in":                 {"out", config.Connection{}, nil, "", `run "porchlight login --profile out"`},
		"unknown":                       {"", config.Connection{Profile: "none"}, nil, "", `there is no profile "none". The profiles are: out, test, work.`},
		"a name that leaves the folder": {"", config.Connection{Profile: "../work"}, nil, "", "cannot be the name of a profile"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := p.setCurrent(c.current); err != nil {
				t.Fatal(err)
			}
			vars := env{"HOME": home}
			for name, value := range c.env {
				vars[name] = value
			}
			var given []string
			if c.flags.URL != "" {
				given = append(given, "url")
			}
			if c.flags.Profile != "" {
				given = append(given, "profile")
			}
			got, err := shellWith(t, vars, given...).resolve(c.flags)
			if c.url == "" {
				if err == nil || !strings.Contains(err.Error(), c.token) {
					t.Fatalf("got %v, want %q", err, c.token)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			token := got.Token
			if got.saved != nil {
				token = got.saved.AccessToken
			}
			if got.URL != c.url || token != c.token {
				t.Errorf("%s with %q, want %s with %q", got.URL, token, c.url, c.token)
			}
		})
	}
}

// TestRefreshOnce: of many processes whose token has expired, one refreshes it.
func TestRefreshOnce(t *testing.T) {
	var refreshes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := refreshes.Add(1)
		if want := fmt.Sprintf("refresh%d", n-1); r.FormValue("refresh_token") != want || r.FormValue("client_id") != "porchlight-cli" {
			t.Errorf("got %v, want %s", r.Form, want)
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"access%d","refresh_token":"refresh%d","expires_in":3600}`, n, n)
	}))
	defer server.Close()
	p := profiles{t.TempDir()}
	expired := profile{URL: server.URL, AccessToken: "access0", RefreshToken: "refresh0", Expires: time.Now()}
	saveProfile(t, p, "work", expired)
	process := func() *loginTokens {
		app, err := client.NewLoginApp(server.URL, "porchlight-cli", nil)
		if err != nil {
			t.Fatal(err)
		}
		return &loginTokens{store: p, name: "work", app: app, saved: expired}
	}
	var running sync.WaitGroup
	for range 8 {
		one := process()
		running.Go(func() {
			if got, err := one.Token(t.Context()); got != "access1" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	running.Wait()
	for range 2 { // both were refused the same token
		if got, err := process().Renew(t.Context(), "access1"); got != "access2" || err != nil {
			t.Errorf("after a refusal: %q, %v", got, err)
		}
	}
	if n := refreshes.Load(); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
	if v, err := p.load("work"); err != nil || v.RefreshToken != "refresh2" {
		t.Errorf("saved %+v, %v", v, err)
	}
}

// TestProfileFiles: a file that others can read, or that is damaged, is refused in words.
func TestProfileFiles(t *testing.T) {
	p := profiles{t.TempDir()}
	for name, c := range map[string]struct {
		mode       os.FileMode
		text, want string
	}{
		"open":    {0o640, `{"format":1,"url":"https://x.example"}`, "mode 0640"},
		"half":    {0o600, `{"format":1,"url":"https:`, "is damaged"},
		"empty":   {0o600, ``, "is damaged"},
		"header":  {0o600, `{"format":1,"url":"https://x.example","access_token":"a\r\nb"}`, "is damaged"},
		"no-url":  {0o600, `{"format":1}`, "is damaged"},
		"newer":   {0o600, `{"format":2}`, "a newer version"},
		"missing": {0, "", `there is no profile "missing"`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode != 0 {
				if err := os.WriteFile(p.path(name), []byte(c.text), c.mode); err != nil {
					t.Fatal(err)
				}
			}
			if c.mode == 0o640 && os.PathSeparator == '\\' {
				t.Skip("Windows has no such modes")
			}
			if _, err := p.load(name); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
