package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"porchlight.dev/porchlight/internal/leveltest"
)

// saveDocument writes a form of the OpenAPI document that the demo serves to a file.
func (d *demo) saveDocument(t *testing.T, name string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.URL+"/docs/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET /docs/%s: %s, %v", name, response.Status, err)
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestGoGenerator sets and reads a status with the client that oapi-codegen makes of the
// document in the form of OpenAPI 3.0.
func TestGoGenerator(t *testing.T) {
	d := startDemo(t)
	document := d.saveDocument(t, "openapi-3.0.json")
	dir := t.TempDir()
	client, program := filepath.Join(dir, "client.go"), filepath.Join(dir, "main.go")
	if err := os.WriteFile(program, []byte(read(t, "e2e/oapi/status.go.txt")), 0o600); err != nil {
		t.Fatal(err)
	}
	// tools/go.mod has the versions of the generator and of what its clients import.
	output, err := run(t, nil, "go", "-C", "../tools", "tool", "oapi-codegen", "-generate", "types,client", "-package", "main", "-o", client, document)
	if err != nil {
		t.Fatalf("oapi-codegen: %v\n%s", err, output)
	}
	if !leveltest.Full(t, "the Go client is generated, and not compiled") {
		return
	}
	output, err = run(t, []string{"PORCHLIGHT_URL=" + d.URL, "PORCHLIGHT_TOKEN=" + d.AccessToken}, "go", "-C", "../tools", "run", client, program)
	if err != nil || !strings.Contains(output, "busy") {
		t.Errorf("the program: %v\n%s", err, output)
	}
	if got := d.status(t, d.signedIn(t, 0)); got != "Busy" {
		t.Errorf("shown: %s, want Busy", got)
	}
}

// TestTypeScript compiles a program with the types that openapi-typescript makes, and runs it.
func TestTypeScript(t *testing.T) {
	d := startDemo(t)
	dir := t.TempDir()
	modules, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	program := read(t, "e2e/typescript/status.ts")
	for _, err := range []error{
		os.Symlink(modules, filepath.Join(dir, "node_modules")),
		os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module"}`), 0o600),
		os.WriteFile(filepath.Join(dir, "status.ts"), []byte(program), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	types := filepath.Join(dir, "porchlight.d.ts")
	if output, err := run(t, nil, "node", requireFile(t, "node_modules/openapi-typescript/bin/cli.js"), d.URL+"/docs/openapi.json", "-o", types); err != nil {
		t.Fatalf("openapi-typescript: %v\n%s", err, output)
	}
	if !leveltest.Full(t, "the types for TypeScript are generated, and not compiled") {
		return
	}
	if output, err := run(t, nil, "node", requireFile(t, "node_modules/typescript/bin/tsc"), "--strict", "--noUncheckedIndexedAccess",
		"--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom", filepath.Join(dir, "status.ts")); err != nil {
		t.Fatalf("tsc --strict: %v\n%s", err, output)
	}
	output, err := run(t, []string{"PORCHLIGHT_URL=" + d.URL, "PORCHLIGHT_TOKEN=" + d.AccessToken}, "node", filepath.Join(dir, "status.js"))
	if err != nil || !strings.Contains(output, "do_not_disturb") {
		t.Errorf("the program: %v\n%s", err, output)
	}
}

// tolerated is what the linter may find, with the reason.
var tolerated = map[string]string{
	"no-invalid-media-type-examples paths//v1/health/get/responses/200/content/application/json/example/server": "in 3.0, which cannot say that a named object may be null",
}

// TestLinter: Redocly's recommended rules find nothing but that in either form of the document.
func TestLinter(t *testing.T) {
	d := startDemo(t)
	names := []string{"openapi-3.0.json"}
	if leveltest.Full(t, "Redocly checks the document as OpenAPI 3.0") {
		names = append(names, "openapi.json")
	}
	found := make(map[string]bool)
	for _, name := range names {
		for _, problem := range d.lint(t, name) {
			rule, _, _ := strings.Cut(problem, ": ")
			if found[rule] = true; tolerated[rule] == "" || name != "openapi-3.0.json" {
				t.Errorf("%s: %s", name, problem)
			}
		}
	}
	for rule := range tolerated {
		if !found[rule] {
			t.Errorf("the linter no longer finds %s: remove it from the table", rule)
		}
	}
}

// lint returns what Redocly finds in a form of the document: the rule, the place, a colon
// and the message.
func (d *demo) lint(t *testing.T, name string) (problems []string) {
	t.Helper()
	output, _ := run(t, []string{"REDOCLY_TELEMETRY=off", "NODE_NO_WARNINGS=1"}, "node", requireFile(t, "node_modules/@redocly/cli/bin/cli.js"),
		"lint", d.saveDocument(t, name), "--extends=recommended", "--format=json") // it fails if there are errors, which are in the output
	var report struct {
		Totals   *struct{ Errors, Warnings int }
		Problems []struct {
			RuleID   string
			Message  string
			Location []struct{ Pointer string }
		}
	}
	_, found, _ := strings.Cut("\n"+output, "\n{\n")
	if err := json.NewDecoder(strings.NewReader("{" + found)).Decode(&report); err != nil || report.Totals == nil {
		t.Fatalf("%s: %v\n%s", name, err, output)
	}
	for _, p := range report.Problems {
		where := strings.NewReplacer("#/", "", "~1", "/").Replace(p.Location[0].Pointer)
		problems = append(problems, p.RuleID+" "+where+": "+p.Message)
	}
	return problems
}
