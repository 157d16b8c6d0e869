package e2e_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/chromedp/chromedp"

	"porchlight.dev/porchlight/internal/leveltest"
)

// A window is a tab of a browser, as the flows that every browser must run use it.
type window interface {
	open(t *testing.T, address string)
	wait(t *testing.T, expression string) // until it holds, also while the tab changes pages
	click(t *testing.T, selector string)
	retype(t *testing.T, selector, value string)
}

type chromium struct{ context.Context }

func (c chromium) open(t *testing.T, address string)    { do(t, c, chromedp.Navigate(address)) }
func (c chromium) wait(t *testing.T, expression string) { holds(t, c, expression) }
func (c chromium) click(t *testing.T, selector string)  { click(t, c, selector) }

func (c chromium) retype(t *testing.T, selector, value string) { retype(t, c, selector, value) }

// TestMainFlows runs the main flows of a person who administers the account: signing in,
// a board that shows a change at once, one's own status, and the lists of the administration.
func TestMainFlows(t *testing.T) {
	browsers := map[string]func(t *testing.T) window{
		"Chromium": func(t *testing.T) window { t.Helper(); return chromium{browse(t)} },
	}
	if leveltest.Full(t, "the main flows of the pages in Chromium, not in Firefox") {
		browsers["Firefox"] = func(t *testing.T) window { t.Helper(); return browseFirefox(t) }
	}
	for name, browse := range browsers {
		t.Run(name, func(t *testing.T) {
			d := startDemo(t)
			ada, grace := d.signedIn(t, 0), d.signedIn(t, 1)
			d.hasPassword(t, ada)
			d.ask(t, http.MethodPatch, "/v1/users/"+ada.ID, `{"role":"admin"}`)
			w := browse(t)

			w.open(t, d.URL+"/signin?next=/")
			w.retype(t, "#email", ada.Email)
			w.retype(t, "#password", password)
			w.click(t, "#by-password button")
			w.wait(t, `location.pathname === "/" && document.querySelector("#connection")?.dataset.state === "connected"`)
			w.wait(t, person(grace)+`?.dataset.status === "available"`)
			d.ask(t, http.MethodPut, "/v1/users/"+grace.ID+"/claims/manual", `{"source":"manual","status":"out_of_office","note":"Back on Monday"}`)
			w.wait(t, person(grace)+`.dataset.status === "out_of_office" && `+person(grace)+`.textContent.includes("Back on Monday")`)

			w.open(t, d.URL+"/me")
			w.wait(t, `document.querySelector("#connection")?.dataset.state === "connected" && document.title.startsWith("Available")`) // nothing moves any more
			w.click(t, "button[data-status=do_not_disturb]")
			w.wait(t, `document.title.startsWith("Do not disturb")`)
			d.waitForStatus(t, ada, "Do_Not_Disturb")
			w.open(t, d.URL+"/")
			w.wait(t, person(ada)+`?.dataset.status === "do_not_disturb"`)

			w.open(t, d.URL+"/admin")
			w.wait(t, `document.querySelector(".content h2")`)
			w.click(t, `.sidebar a[href="/admin/users"]`)
			w.wait(t, `location.pathname === "/admin/users" && document.querySelector("tbody").textContent.includes("`+grace.Email+`")`)
		})
	}
}
