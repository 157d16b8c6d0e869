package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// refusals are the requests of the imported document that the demo refuses, with the reason.
var refusals = map[string]struct {
	code   int
	reason string
}{
	"Sign a person in with a password":                  {401, "nobody in the demo has a password"},
	"Change the caller's password":                      {400, "the owner of the demo has no password"},
	"Choose a password with a link, and sign in":        {404, "the link of the example was never sent"},
	"Allow or deny an app's request":                    {403, "needs a person who signed in with a browser"},
	"Allow or deny a device":                            {403, "needs a person who signed in with a browser"},
	"Describe an app's request":                         {403, "needs a person who signed in with a browser"},
	"Describe the device that shows a code":             {403, "needs a person who signed in with a browser"},
	"End an app's access":                               {404, "nobody gave an app access"},
	"End a sign-in of the caller's user":                {404, "nobody signed in with a browser"},
	"Send a sample of an event":                         {409, "the subscription of the example has no endpoint"},
	"Deliver events again":                              {409, "the subscription of the example has no endpoint"},
	"Receive events (WebSocket)":                        {400, "Postman's runner makes no WebSocket handshake"},
	"Create an event subscription":                      {404, "example.com takes no events"},
	"Subscribe an event subscription":                   {404, "there is none, for the same reason"},
	"Delete an event subscription":                      {404, "there is none, for the same reason"},
	"Unsubscribe app event subscription":                {404, "there is none, for the same reason"},
	"Read how far an erasure is":                        {404, "nobody is erased"},
	"Revoke all tokens of a user or an app":             {400, "names neither: both parameters are optional"},
	"List the nodes that serve the store":               {401, "the demo has no system token"},
	"Let nodes write newer formats":                     {401, "the demo has no system token"},
	"Create an account":                                 {401, "the demo has no system token"},
	"List accounts":                                     {401, "the demo has no system token"},
	"Read an account, and what it has":                  {401, "the demo has no system token"},
	"Read how far the deletion of an account is":        {401, "the demo has no system token"},
	"Read the security events of the server":            {401, "the demo has no system token"},
	"Export the audit log of the server":                {401, "the demo has no system token"},
	"Rename, plan, limit, suspend or resume an account": {401, "the demo has no system token"},
	"Delete an account with everything that it has":     {401, "the demo has no system token"},
}

// TestPostman imports the document into Postman, and sends every request to the demo: it
// refuses those of the table, for the reason in the table, and no others.
func TestPostman(t *testing.T) {
	d := startDemo(t)
	document := d.saveDocument(t, "openapi.json")
	output, err := run(t, []string{"DOCUMENT=" + document}, "node", "postman.mjs")
	if err != nil {
		t.Fatalf("postman.mjs: %v\n%s", err, output)
	}
	dir := t.TempDir()
	collection, report := filepath.Join(dir, "collection.json"), filepath.Join(dir, "report.json")
	if err := os.WriteFile(collection, []byte(output), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err = run(t, nil, "node", requireFile(t, "node_modules/newman/bin/newman.js"), "run", collection,
		"--env-var", "baseUrl="+d.URL, "--env-var", "token="+d.AccessToken, "--env-var", "clientId="+d.ClientID,
		"--env-var", "clientSecret="+d.ClientSecret, "--timeout-request", "60000", "--reporters", "json", "--reporter-json-export", report)
	if err != nil {
		t.Fatalf("newman: %v\n%s", err, output)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Run struct {
			Executions []struct {
				Item     struct{ Name string }
				Response struct{ Code int }
			}
		}
	}
	if err := json.Unmarshal(data, &result); err != nil || len(result.Run.Executions) < 130 {
		t.Fatalf("%d requests: %v", len(result.Run.Executions), err)
	}
	seen := make(map[string]bool)
	for _, e := range result.Run.Executions {
		want, isRefused := refusals[e.Item.Name]
		switch {
		case isRefused:
			seen[e.Item.Name] = true
			if e.Response.Code != want.code {
				t.Errorf("%s: %d, want %d: %s", e.Item.Name, e.Response.Code, want.code, want.reason)
			}
		case e.Response.Code < 200 || e.Response.Code > 399:
			t.Errorf("%s: %d", e.Item.Name, e.Response.Code)
		}
	}
	for name := range refusals {
		if !seen[name] {
			t.Errorf("no request is named %q", name)
		}
	}
}
