package e2e_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"porchlight.dev/porchlight/internal/leveltest"
)

// findings is what axe-core finds in the document that hinders people.
const findings = `axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
	.filter((v) => v.impact === "serious" || v.impact === "critical")
	.flatMap((v) => v.nodes.map((n) => v.impact + " " + v.id + ": " + n.target.join(" ") + ": " + n.failureSummary.replace(/\s+/g, " "))))`

// openers returns what opens the dialogs, the menus and the folded parts of a page, by the page's
// name. Each expression opens one of them.
func openers() map[string][]string {
	return map[string][]string{
		"board":               {`document.querySelector("#people button").click()`, `document.querySelector("#signage").click()`},
		"me":                  {unfold},
		"admin-user":          {`document.querySelector("#edit").click()`, `document.querySelector("#invite").click()`, `document.querySelector("#set-status").click()`, unfold},
		"admin-users":         {`document.querySelector("#add-user").click()`},
		"admin-groups":        {`document.querySelector("#add-group").click()`},
		"admin-apps":          {`document.querySelector("#add-app").click()`},
		"admin-app":           {`document.querySelector("#edit").click()`, `document.querySelector("#rotate").click()`, unfold},
		"admin-tokens":        {`document.querySelector("#create-token").click()`, `document.querySelector("td button").click()`, unfold},
		"admin-subscriptions": {`document.querySelector("#add-subscription").click()`},
		"admin-audit":         {`document.querySelector("#events button").click()`},
	}
}

const (
	// unfold opens all menus and folded parts, which are not dialogs.
	unfold = `document.querySelectorAll("details").forEach((d) => { d.open = true; })`
	// leave closes a dialog.
	leave = `document.querySelector("dialog")?.close() || true`
	// still holds when nothing fades or slides any more, which would have other colours.
	still = `document.getAnimations().every((a) => a.playState !== "running")`
)

// TestAccessibility has axe-core look at every page in both colour schemes, wide and on a
// phone, and at its dialogs, menus and folded parts in one combination of each. It finds
// nothing serious. A page is loaded once, because that takes longer than a look. The script is
// injected by the debugger, which the policy of the pages does not concern.
func TestAccessibility(t *testing.T) {
	axe := read(t, filepath.Join("e2e", requireFile(t, "node_modules/axe-core/axe.min.js")))
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	faces := d.faces(t)
	looks := []struct {
		scheme string
		width  int64
	}{{"light", 1280}, {"dark", 390}, {"light", 390}, {"dark", 1280}}
	n := leveltest.Count(t, "schemes and widths of each page that axe checks", 2, 4, 4)
	for name := range openers() {
		if !slices.ContainsFunc(faces, func(f face) bool { return f.name == name }) {
			t.Errorf("there is no page %s", name)
		}
	}
	for _, f := range faces {
		t.Run(f.name, func(t *testing.T) {
			visit(t, tab, f, "light", 1280)
			do(t, tab, chromedp.Evaluate[chromedp.Void](axe))
			for _, as := range looks[:n] {
				look(t, tab, as.scheme, as.width)
			}
			for i, open := range openers()[f.name] {
				evaluate(t, tab, open+", true")
				holds(t, tab, `document.querySelector("dialog[open], details[open], .more-of-row")`)
				look(t, tab, []string{"light", "dark"}[i%2], 390)
				look(t, tab, []string{"dark", "light"}[i%2], 1280)
				evaluate(t, tab, leave)
				holds(t, tab, `!document.querySelector("dialog")`)
			}
		})
	}
}

// look reports what axe-core finds in a scheme and at a width.
func look(t *testing.T, tab context.Context, scheme string, width int64) {
	t.Helper()
	do(t, tab, chromedp.EmulateViewport(width, 844), prefer(scheme))
	holds(t, tab, still)
	found, err := chromedp.Run(tab, chromedp.Evaluate[[]string](findings, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range found {
		t.Errorf("%s, %d: %s", scheme, width, finding)
	}
}
