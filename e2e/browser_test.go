package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browse runs Chromium with its own profile until the test ends. chromedp makes and removes
// the profile, because it tries that again: Chromium's children still write in it for a while
// after the browser has ended.
func browse(t *testing.T) context.Context {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: run `make test-tools`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // TestMemoryOfBoard takes eleven
	t.Cleanup(cancel)
	allocated, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium),
		chromedp.WSURLReadTimeout(2*time.Minute), // a cold start reads the whole program from the disk
		chromedp.NoSandbox,                       // the sandbox needs permissions that containers lack
		chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
		chromedp.WindowSize(1280, 1600),
	)...)
	t.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	do(t, tab) // starts the browser
	return tab
}

// collectErrors collects the errors and warnings of the browser.
func collectErrors(t *testing.T, tab context.Context) func() string {
	t.Helper()
	var mu sync.Mutex
	var errors strings.Builder
	go func() {
		for message, err := range chromedp.Console(tab) {
			if err != nil {
				return // the tab is closed
			}
			if message.Type == chromedp.ConsoleError || message.Type == chromedp.ConsoleException {
				mu.Lock()
				fmt.Fprintf(&errors, "%s: %s\n", message.Type, message.Text)
				mu.Unlock()
			}
		}
	}()
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return errors.String()
	}
}

// noErrors fails the test for what the browser reported, but for lines that contain one of
// the expected texts.
func noErrors(t *testing.T, reported string, expected ...string) {
	t.Helper()
	for line := range strings.Lines(reported) {
		if !slices.ContainsFunc(expected, func(text string) bool { return strings.Contains(line, text) }) {
			t.Errorf("the browser reports an error: %s", line)
		}
	}
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, steps...); err != nil {
		t.Fatal(err)
	}
}

// wait waits until the expression is truthy. Until then, it may throw: what it reads of the
// page need not be there yet. Poll itself would never end then. The tab may go from one page
// to another meanwhile: Poll then loses the page that it asks, and asks the next one.
func wait(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		_, err := chromedp.Run(tab, chromedp.Poll[bool](truthy(expression), chromedp.WithPollingTimeout(time.Until(deadline))))
		if err == nil {
			return
		}
		if time.Now().After(deadline) || !navigated(err) {
			t.Fatalf("waiting for %s: %v", expression, err)
		}
	}
}

// navigated reports whether the page that a step asked was replaced by another one.
func navigated(err error) bool {
	return strings.Contains(err.Error(), "navigated") || strings.Contains(err.Error(), "Cannot find context")
}

// truthy is false also while the expression throws, as one does about an element that is
// not yet there.
func truthy(expression string) string {
	return "(() => { try { return !!(" + expression + "); } catch { return false; } })()"
}

func click(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf("document.querySelector(%q)", selector))
	do(t, tab, chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// press clicks by script, which cannot miss an element in a list that grows above it.
func press(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf("document.querySelector(%q)", selector))
	evaluate(t, tab, fmt.Sprintf("document.querySelector(%q).click() || true", selector))
}

// retype replaces the text of an input, key by key.
func retype(t *testing.T, tab context.Context, selector, value string) {
	t.Helper()
	wait(t, tab, fmt.Sprintf("document.querySelector(%q)", selector))
	evaluate(t, tab, fmt.Sprintf("document.querySelector(%q).select() || true", selector))
	do(t, tab, chromedp.SendKeys(chromedp.CSS(selector), value))
	wait(t, tab, fmt.Sprintf("document.querySelector(%q).value === %q", selector, value))
}

// choose selects an option of a select, and dispatches the event.
func choose(t *testing.T, tab context.Context, selector, value string) {
	t.Helper()
	do(t, tab, chromedp.SetValue(chromedp.CSS(selector), value))
	evaluate(t, tab, fmt.Sprintf(`document.querySelector(%q).dispatchEvent(new Event("change", {bubbles: true}))`, selector))
}

func evaluate(t *testing.T, tab context.Context, script string) {
	t.Helper()
	if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](script)); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
}

func text(t *testing.T, tab context.Context, selector string) string {
	t.Helper()
	found, err := chromedp.Run(tab, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// screenshot saves the whole page. "go test -artifacts" keeps the files.
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	save(t, tab, name, chromedp.FullScreenshot(100)) // less would be JPEG
}

func save(t *testing.T, tab context.Context, name string, take chromedp.Action[[]byte]) {
	t.Helper()
	png, err := chromedp.Run(tab, take)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), png, 0o600); err != nil {
		t.Fatal(err)
	}
}
