package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"

	"github.com/rogpeppe/go-internal/testscript"
)

// browserKey is the context key of the browser of a script.
type browserKey struct{}

// A browser is where a person signs in and answers logins.
type browser struct {
	server string
	client http.Client
}

// post sends a request as a page of the server does.
func (b *browser) post(ts *testscript.TestScript, path string, body any) {
	data, err := json.Marshal(body)
	ts.Check(err)
	req, err := http.NewRequest(http.MethodPost, b.server+path, bytes.NewReader(data))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Origin", b.server)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	resp, err := b.client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	if resp.StatusCode > 299 {
		var text bytes.Buffer
		_, _ = text.ReadFrom(resp.Body)
		ts.Fatalf("POST %s: %d %s", path, resp.StatusCode, &text)
	}
}

func signIn(ts *testscript.TestScript, _ bool, args []string) {
	b, _ := ts.Value(browserKey{}).(*browser)
	link, err := url.Parse(args[0])
	ts.Check(err)
	b.server = link.Scheme + "://" + link.Host
	b.client.Jar, err = cookiejar.New(nil)
	ts.Check(err)
	b.post(ts, "/v1/invitations/accept", map[string]string{"secret": link.Fragment, "password": "correct horse battery staple"})
}

var shownCode = regexp.MustCompile(`enter the code ([A-Z0-9]+-[A-Z0-9]+)`)

func decide(ts *testscript.TestScript, _ bool, args []string) {
	b, _ := ts.Value(browserKey{}).(*browser)
	if len(args) < 2 { // the code is on standard error
		text, _ := last(ts, []string{"login"}).err.await(shownCode)
		found := shownCode.FindStringSubmatch(text)
		if found == nil {
			ts.Fatalf("no code in %s", text)
		}
		args = append(args, found[1])
	}
	b.post(ts, "/v1/oauth/device", map[string]any{"user_code": args[1], "allow": args[0] == "allow"})
}
