package e2e_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// findings is what axe-core finds in the document that hinders people.
const findings = `axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
	.filter((v) => v.impact === "serious" || v.impact === "critical")
	.flatMap((v) => v.nodes.map((n) => v.impact + " " + v.id + ": " + n.target.join(" ") + ": " + n.failureSummary.replace(/\s+/g, " "))))`

// TestAccessibility has axe-core look at every page, light and wide, dark and on a phone. It
// finds nothing serious. The script is injected by the debugger, which the policy of the
// pages does not concern.
func TestAccessibility(t *testing.T) {
	axe := read(t, filepath.Join("e2e", requireFile(t, "node_modules/axe-core/axe.min.js")))
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	for _, f := range d.faces(t) {
		for scheme, width := range map[string]int64{"light": 1280, "dark": 390} {
			t.Run(f.name+"-"+scheme, func(t *testing.T) {
				visit(t, tab, f, scheme, width)
				do(t, tab, chromedp.Evaluate[chromedp.Void](axe))
				found, err := chromedp.Run(tab, chromedp.Evaluate[[]string](findings, chromedp.EvalAwaitPromise))
				if err != nil {
					t.Fatal(err)
				}
				for _, finding := range found {
					t.Error(finding)
				}
			})
		}
	}
}
