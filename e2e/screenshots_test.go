package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// TestScreenshots takes pictures of each page for people to look at, which "make
// screenshots" keeps, and checks what a program can: no page is wider than its window,
// whatever its scheme and width.
func TestScreenshots(t *testing.T) {
	d := startDemo(t)
	tab := d.browseAsAdministrator(t)
	for _, f := range d.faces(t) {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 390} {
				visit(t, tab, f, scheme, width)
				holds(t, tab, fmt.Sprintf("innerWidth === %d && document.documentElement.scrollWidth <= innerWidth", width))
				save(t, tab, fmt.Sprintf("%s-%s-%d.png", f.name, scheme, width), chromedp.CaptureScreenshot())
			}
		}
	}
}

// holds waits until the expression is truthy. Other than wait, it works on pages that
// run no script at all.
func holds(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for range 1200 {
		if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool](truthy(expression))); err == nil && ok {
			return
		}
		<-again.C
	}
	t.Fatalf("it never holds that %s", expression)
}

// prefer has the browser prefer a colour scheme, "light" or "dark".
func prefer(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	})
}
