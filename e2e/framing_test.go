package e2e_test

import (
	"fmt"
	"html/template"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// foreign is a page of another origin on the same site, which is the harder case: browsers
// send it the cookie of a sign-in, although the cookie is SameSite=Lax.
func foreign(t *testing.T) (address string) {
	t.Helper()
	page := template.Must(template.New("").Parse(`<!DOCTYPE html><html lang="en"><title>Another site</title><link rel="icon" href="data:,">
{{with .frame}}<iframe src="{{.}}" width="600" height="400"></iframe>{{end}}
{{with .post}}<form method="post" action="{{.}}" enctype="{{$.enctype}}"><input name="status" value="busy"><button>Send</button></form>{{end}}`))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_ = page.Execute(w, map[string]template.URL{ //nolint:gosec // the tests give the addresses
			"frame": template.URL(r.FormValue("frame")), "post": template.URL(r.FormValue("post")), "enctype": template.URL(r.FormValue("enctype")),
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestFramingRefused: a page of another origin that frames a page sees nothing of it, and its
// visitor cannot click on it. It can frame a page of its own.
func TestFramingRefused(t *testing.T) {
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	refused := make(chan string, 100)
	if err := chromedp.Listen(tab, func(event any) {
		if failed, ok := event.(*network.EventLoadingFailed); ok && failed.Type == network.ResourceTypeDocument {
			refused <- string(failed.BlockedReason) + " " + failed.ErrorText
		}
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(tab, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	other := foreign(t)
	for _, f := range append(d.faces(t), face{name: "a page of the other origin", address: other}) {
		do(t, tab, chromedp.Navigate(other+"/?"+query("frame", f.address)))
		holds(t, tab, `document.readyState === "complete"`) // which waits for the frame
		own, err := chromedp.Run(tab, chromedp.Evaluate[bool](`(() => { try { return document.querySelector("iframe").contentDocument !== null; } catch { return false; } })()`))
		if err != nil || own != (f.address == other) {
			t.Errorf("%s: readable: %t, %v", f.name, own, err)
		}
		var why string
		select {
		case why = <-refused:
		default:
		}
		if own != (why == "") || !own && !strings.Contains(why, "BLOCKED_BY_RESPONSE") {
			t.Errorf("%s: the browser says %q", f.name, why)
		}
	}
}

func query(pairs ...string) string {
	var q strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&q, "%s=%s&", pairs[i], template.URLQueryEscaper(pairs[i+1]))
	}
	return q.String()
}

// TestCrossOriginPostsRefused: forms of another origin that post with the cookie of an
// administrator change nothing, whatever their media type. The server's own page may send
// the same. TestCookieOrigins of the server tries every route with every header; this shows
// which headers a browser sends.
func TestCrossOriginPostsRefused(t *testing.T) {
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	u, other := d.signedOut(t), foreign(t)
	for _, path := range []string{"/v1/users/" + u.ID + "/sessions", "/v1/users/" + u.ID + "/invitation", "/v1/sign-ins", "/v1/apps"} {
		for _, enctype := range []string{"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"} {
			do(t, tab, chromedp.Navigate(other+"/?"+query("post", d.URL+path, "enctype", enctype)))
			click(t, tab, "button")
			holds(t, tab, fmt.Sprintf(`location.origin === %q && document.readyState === "complete"`, d.URL))
			if got := text(t, tab, "body"); !strings.Contains(got, "origin-not-allowed") {
				t.Errorf("POST %s as %s: %s", path, enctype, got)
			}
		}
	}
	do(t, tab, chromedp.Navigate(d.URL+"/account"))
	own := chromedp.Evaluate[int](`fetch("/v1/users/`+u.ID+`/invitation", {method: "POST"}).then((r) => r.status)`, chromedp.EvalAwaitPromise)
	if status, err := chromedp.Run(tab, own); err != nil || status != http.StatusCreated && status != http.StatusOK {
		t.Errorf("the server's own page gets %d, %v", status, err)
	}
}
