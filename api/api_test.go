package api_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/api/apitest"
)

func TestTheDocumentIsOpenAPI(t *testing.T) {
	doc, err := apitest.Document()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.OperationID == "" || seen[operation.OperationID] {
				t.Errorf("%s %s has no operationId of its own", method, path)
			}
			seen[operation.OperationID] = true
			if operation.Summary == "" || len(operation.Tags) != 1 {
				t.Errorf("%s %s has no summary, or not one tag", method, path)
			}
			checkExamples(t, method+" "+path, item, operation)
		}
	}
}

// checkExamples: tools send the examples of parameters and request bodies, and where there
// is none a placeholder, which the server refuses. Document checks that each is valid.
func checkExamples(t *testing.T, where string, item *openapi3.PathItem, operation *openapi3.Operation) {
	t.Helper()
	for _, parameter := range slices.Concat(item.Parameters, operation.Parameters) {
		if p := parameter.Value; p.Example == nil && p.Examples == nil {
			t.Errorf("%s: parameter %s has no example", where, p.Name)
		}
	}
	if operation.RequestBody == nil {
		return
	}
	for media, body := range operation.RequestBody.Value.Content {
		if body.Example == nil && body.Examples == nil {
			t.Errorf("%s: the request body of type %s has no example", where, media)
		}
	}
}

// The document names problems in its descriptions of answers: each exists, and
// each that exists is named, under the answer of its status.
func TestTheDocumentNamesEveryProblem(t *testing.T) {
	unmentioned := []string{"method-not-allowed", "no-route", "rate-limited", "too-soon", "transition-not-allowed", "user-signed-out"}
	named := regexp.MustCompile("`([a-z]+(?:-[a-z]+)+|malformed|forbidden|escalation|conflict|internal|overloaded|unavailable)`")
	doc, err := apitest.Document()
	if err != nil {
		t.Fatal(err)
	}
	mentioned := make(map[string]bool)
	for _, response := range doc.Components.Responses {
		for _, match := range named.FindAllStringSubmatch(*response.Value.Description, -1) {
			mentioned[match[1]] = true
		}
	}
	for _, kind := range api.Kinds() {
		if mentioned[kind.Slug] == slices.Contains(unmentioned, kind.Slug) {
			t.Errorf("problem %s: mentioned in openapi.yaml: %v", kind.Slug, mentioned[kind.Slug])
		}
		delete(mentioned, kind.Slug)
	}
	for slug := range mentioned {
		t.Errorf("openapi.yaml mentions %s, which is no problem", slug)
	}
}

func TestKinds(t *testing.T) {
	seen := make(map[string]bool)
	for _, kind := range api.Kinds() {
		switch {
		case !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(kind.Slug), seen[kind.Slug]:
			t.Errorf("%q is no slug of its own", kind.Slug)
		case kind.Title == "" || kind.WhatToDo == "" || kind.Status < 400 || kind.Status > 599:
			t.Errorf("%s is not complete", kind.Slug)
		}
		seen[kind.Slug] = true
	}
	if !slices.IsSortedFunc(api.Kinds(), func(a, b *api.Kind) int { return a.Status - b.Status }) {
		t.Error("the catalogue is not in the order of statuses")
	}
}
