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
	tab := browse(t)
	token := "#token=" + d.AccessToken
	for _, page := range []struct{ name, path, fragment, ready string }{
		{"board", "/", token, `document.querySelectorAll("#people li .groups").length >= 5 && document.querySelector("#who").textContent`},
		{"me", "/me", token, `document.querySelector("#times")?.textContent && document.querySelector("#connection").textContent === "Live"`},
		{"docs", "/docs", "", `document.querySelector("#operations-Zoom-updatePresenceStatus")`},
		{"problems", "/docs/problems", "", `document.querySelector("dt")`},
		{"not-found", "/nothing", "", `document.querySelector("h1")`},
	} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 390} {
				name := fmt.Sprintf("%s-%s-%d.png", page.name, scheme, width)
				do(t, tab, chromedp.EmulateViewport(width, 844), prefer(scheme), chromedp.Navigate(d.URL+page.path+"?shot="+name+page.fragment))
				holds(t, tab, page.ready)
				holds(t, tab, fmt.Sprintf("innerWidth === %d && document.documentElement.scrollWidth <= innerWidth", width))
				save(t, tab, name, chromedp.CaptureScreenshot())
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
		if ok, err := chromedp.Run(tab, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil && ok {
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
