package e2e_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

// A face is a page as the tests of all pages open it: TestScreenshots, TestAccessibility,
// TestFramingRefused and TestPageFigures.
type face struct {
	name, address string
	ready         string // holds once everything is shown, beside settled
}

// settled holds once a page shows its title and nothing that is still loading.
const settled = `document.readyState === "complete" && document.querySelector("h1, h2") && ![...document.querySelectorAll("[role=status]")].some((s) => s.textContent.startsWith("Loading"))`

// faces are all pages. A person who administers the account opens them.
func (d *demo) faces(t *testing.T) []face {
	t.Helper()
	invited := d.signedOut(t)
	app, _ := d.newApp(t, `{"name":"Calendar","scopes":["presence:read:admin","claim:write"],"redirect_uris":["http://127.0.0.1/callback"]}`)
	consent := "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {app}, "redirect_uri": {"http://127.0.0.1/callback"}, "scope": {"presence:read:admin claim:write"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"},
	}.Encode()
	const shown = `document.querySelector("#connection")?.dataset.state === "connected" && document.querySelector(".avatar")`
	const live = shown + ` && document.querySelector("#who").textContent`
	faces := []face{
		{"board", "/", live},
		{"wall", "/?wall", shown},
		{"signage", strings.TrimPrefix(d.signage(t), d.URL), shown},
		{"me", "/me", `document.querySelector("#connection")?.dataset.state === "connected" && document.querySelector("#who").textContent`},
		{"signin", "/signin", `document.querySelector("#by-password")`},
		{"welcome", strings.TrimPrefix(d.invite(t, invited), d.URL), `document.querySelector("#choose")`},
		{"account", "/account", `document.querySelector("#sign-ins li")`},
		{"device", "/device", `document.querySelector("#entry")`},
		{"consent", consent, `document.querySelector("#question")`},
		{"admin", "/admin", `document.querySelector(".statuses li") && !document.querySelector(".numbers").textContent.includes("–")`},
		{"admin-users", "/admin/users", `document.querySelector("tbody tr")`},
		{"admin-user", "/admin/users/" + invited.ID, `document.querySelector(".content h2")`},
		{"admin-import", "/admin/users/import", ""},
		{"admin-groups", "/admin/groups", `document.querySelector("tbody tr")`},
		{"admin-apps", "/admin/apps", `document.querySelector("tbody tr")`},
		{"admin-app", "/admin/apps/" + app, `document.querySelector(".content h2")`},
		{"admin-tokens", "/admin/tokens", `document.querySelector("td.user a").textContent.includes(" ")`},
		{"admin-subscriptions", "/admin/subscriptions", ""},
		{"admin-audit", "/admin/audit", `document.querySelector("tbody").textContent.includes("demo")`},
		{"admin-limits", "/admin/limits", `document.querySelector("tbody tr")`},
		{"admin-health", "/admin/health", `document.querySelectorAll(".chart").length === 8`},
		{"docs", "/docs#updatePresenceStatus", `document.querySelector("#send")`},
		{"docs-start", "/docs/start", `document.querySelector("#find")`},
		{"help", "/help", `document.querySelector("#help-search")`},
		{"help-page", "/help/concepts", `document.querySelector("#help-search")`},
		{"problems", "/docs/problems", `document.querySelector("dt")`},
		{"not-found", "/nothing", ""},
	}
	for i := range faces {
		faces[i].address = d.URL + faces[i].address
	}
	setup, _ := startSetup(t)
	return append(faces, face{"setup", setup, `document.querySelector("#setup")`})
}

// signage is the address of a link for displays.
func (d *demo) signage(t *testing.T) string {
	t.Helper()
	var link struct{ URL string }
	d.administer(t, "/v1/signage-links", `{"name":"Reception"}`, &link)
	return link.URL
}

// browseAsAdministrator is a browser in which a person is signed in who may do everything.
func (d *demo) browseAsAdministrator(t *testing.T) context.Context {
	t.Helper()
	u := d.signedIn(t, 1)
	d.ask(t, "PATCH", "/v1/users/"+u.ID, `{"role":"admin"}`)
	tab := browse(t)
	do(t, tab, chromedp.Navigate(d.invite(t, u)))
	retype(t, tab, "#password", password)
	retype(t, tab, "#again", password)
	click(t, tab, "#choose button")
	wait(t, tab, `location.pathname === "/"`)
	return tab
}

// visit opens a page at a width and in a scheme, and waits until it is complete.
func visit(t *testing.T, tab context.Context, f face, scheme string, width int64) {
	t.Helper()
	do(t, tab, chromedp.EmulateViewport(width, 844), prefer(scheme),
		chromedp.Navigate("about:blank"), // a change after "#" alone loads nothing
		chromedp.Navigate(f.address))
	holds(t, tab, settled)
	if f.ready != "" {
		holds(t, tab, f.ready)
	}
}
