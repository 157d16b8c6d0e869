package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestReferenceInBrowser finds Zoom's update in the API reference, and sends it from there
// with each kind of body.
func TestReferenceInBrowser(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	do(t, tab, chromedp.Navigate(d.URL+"/docs"))
	retype(t, tab, "#search", "put presence_status")
	const found = `.operations a[href="#updatePresenceStatus"]`
	wait(t, tab, fmt.Sprintf(`document.querySelectorAll(".operations li").length === 1 && document.querySelector(%q)`, found))
	click(t, tab, found)
	wait(t, tab, `document.querySelector("#operation-title")?.textContent === "Update a user's presence status"`)

	for i, c := range []struct{ media, sent string }{
		{"application/json", `--data-binary '{"status":"Do_No_Disturb","duration":20}'`},
		{"multipart/form-data", "--form-string duration=45"},
		{"application/x-www-form-urlencoded", "--data-urlencode duration=45"},
	} {
		t.Run(c.media, func(t *testing.T) {
			u := d.signedIn(t, i)
			do(t, tab, chromedp.Navigate(fmt.Sprintf("%s/docs?%d#updatePresenceStatus", d.URL, i)))
			wait(t, tab, `document.querySelector("#acts-as")`)
			retype(t, tab, "#parameter-userId", u.ID)
			choose(t, tab, "#body-type", c.media)
			if c.media != "application/json" {
				choose(t, tab, "#field-status", "Do_Not_Disturb")
				retype(t, tab, "#field-duration", "45")
			}
			click(t, tab, "#send")
			wait(t, tab, `document.querySelector("#status")?.textContent === "204" && !document.querySelector("#stop")`)
			if sample := text(t, tab, "#sample"); !strings.Contains(sample, c.sent) || strings.Contains(sample, d.AccessToken) {
				t.Errorf("the sample is\n%s\nwant %s, and no token", sample, c.sent)
			}
			if got := d.status(t, u); got != "Do_Not_Disturb" {
				t.Errorf("shown: %s, want Do_Not_Disturb", got)
			}
			screenshot(t, tab, "docs-"+strings.ReplaceAll(c.media, "/", "-")+".png")
		})
	}

	// Examples: of an optional parameter, which is not filled in, and of a response.
	do(t, tab, chromedp.Navigate(d.URL+"/docs?examples#listPresence"))
	wait(t, tab, `document.querySelector("#parameter-group-hint")?.textContent.endsWith("Example: Support") && document.querySelector("#parameter-group").value === ""`)
	wait(t, tab, `document.querySelector(".responses details pre")?.textContent.includes('"presences": [')`)
	// Violations of the page's content security policy would be reported here.
	noErrors(t, browserErrors())
}

// TestSamples runs the programs that the API reference shows, in each language and with each
// kind of body: they do what they say.
func TestSamples(t *testing.T) {
	d := startDemo(t)
	var result struct {
		Note    string
		Samples []struct{ Kind, Language, User, Text string }
	}
	users := make([]string, 0, 20)
	for len(users) < 20 { // the samples are more than the users who are signed in
		u := d.Users[len(users)]
		users = append(users, u.ID)
		if !u.SignedIn {
			d.call(t, "POST", "/v1/users/"+u.ID+"/sessions", `{"client_type":"desktop","lease_seconds":3600}`)
		}
	}
	given, _ := json.Marshal(users)
	assets := pageModules(t)
	output, err := run(t, []string{"ASSETS=" + assets, "URL=" + d.URL, "USERS=" + string(given)}, "node", "samples.mjs")
	if err != nil {
		t.Fatalf("samples.mjs: %v\n%s", err, output)
	}
	if err := json.Unmarshal([]byte(output), &result); err != nil || len(result.Samples) != 20 {
		t.Fatalf("samples.mjs printed %q: %v", output, err)
	}
	for _, sample := range result.Samples {
		t.Run(sample.Language+" "+sample.Kind, func(t *testing.T) {
			output, err := runSample(t, sample.Language, sample.Text, "PORCHLIGHT_TOKEN="+d.AccessToken)
			want := map[bool]string{true: "200", false: "204"}[sample.Kind == "note"]
			if err != nil || !strings.Contains(output, want) || sample.Kind == "note" && !strings.Contains(output, jsonText(t, result.Note)) {
				t.Errorf("%v, %s, want %s\n%s", err, output, want, sample.Text)
			}
			if got := d.status(t, user{ID: sample.User}); sample.Kind != "note" && got != "Do_Not_Disturb" {
				t.Errorf("shown: %s, want Do_Not_Disturb", got)
			}
		})
	}
}

// pageModules copies the scripts of the pages to where node reads them as modules.
func pageModules(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../internal/ui/assets")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"client.js":    read(t, "sdk/javascript/client.js"),
		"package.json": `{"type":"module"}`, // node treats .js as CommonJS
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// runSample runs a program as a reader would.
func runSample(t *testing.T, language, text, token string) (string, error) {
	t.Helper()
	name := map[string]string{"curl": "a.sh", "javascript": "a.mjs", "python": "a.py", "go": "a.go", "csharp": "a.cs"}[language]
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	switch language {
	case "curl":
		return run(t, []string{token}, "sh", file)
	case "javascript":
		return run(t, []string{token}, "node", file)
	case "python":
		return run(t, []string{token}, "python3", file)
	case "go":
		return run(t, []string{token}, "go", "run", file)
	}
	program := strings.TrimSuffix(file, ".cs") + ".exe"
	if output, err := run(t, nil, "mcs", "-langversion:latest", "-r:System.Net.Http", "-out:"+program, file); err != nil {
		return output, err
	}
	return run(t, []string{token}, "mono", program)
}

// jsonText is a text as the server writes it in JSON, without the quotes.
func jsonText(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		t.Fatal(err)
	}
	return strings.Trim(strings.TrimSpace(out.String()), `"`)
}

// TestStart goes through the page that leads from the reference to an HTTP task, and sends
// the request of the task.
func TestStart(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	browserErrors := collectErrors(t, tab)
	u := d.signedIn(t, 0)
	do(t, tab, chromedp.EmulateViewport(390, 844), chromedp.Navigate(d.URL+"/docs/start"))
	retype(t, tab, "#find", "update presence")
	click(t, tab, `[data-operation="updatePresenceStatus"]`)
	retype(t, tab, "#parameter-userId", u.Email)
	click(t, tab, "#send")
	wait(t, tab, `document.querySelector("#status")?.textContent === "204"`)
	wait(t, tab, "document.documentElement.scrollWidth <= innerWidth")
	if got := d.status(t, u); got != "Do_Not_Disturb" {
		t.Errorf("shown: %s, want Do_Not_Disturb", got)
	}
	other := d.signedIn(t, 1)
	asked := firstRequest(t, text(t, tab, "#task"))
	asked.URL = strings.ReplaceAll(asked.URL, "${$.userId}", other.Email)
	if status, body := asked.send(t, d.AccessToken, "execution-1"); status != http.StatusNoContent {
		t.Errorf("the task: %d %s", status, body)
	}
	if got := d.status(t, other); got != "Do_Not_Disturb" {
		t.Errorf("shown after the task: %s, want Do_Not_Disturb", got)
	}
	noErrors(t, browserErrors())
}

// TestSearchHelp finds a section of the documentation, and goes to it.
func TestSearchHelp(t *testing.T) {
	d := startDemo(t)
	tab := browse(t)
	do(t, tab, chromedp.Navigate(d.URL+"/docs/concepts"))
	holds(t, tab, `location.pathname === "/help/concepts"`) // from the address of earlier versions
	retype(t, tab, "#help-search", "idempotency key retries")
	const found = `.results a[href="/help/guides/workflow#retries"]`
	wait(t, tab, fmt.Sprintf(`document.querySelector(%q)`, found))
	click(t, tab, found)
	holds(t, tab, `location.pathname === "/help/guides/workflow" && location.hash === "#retries" && document.querySelector("#retries")`)
	click(t, tab, `.pager [rel="prev"]`)
	holds(t, tab, `location.pathname === "/help/guides/csharp"`)
}
