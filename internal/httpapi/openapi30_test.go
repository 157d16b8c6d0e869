package httpapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/goccy/go-yaml"

	"porchlight.dev/porchlight/api"
)

// TestSchemasOfOpenAPI30 rewrites a schema of each form that differs between the versions.
func TestSchemasOfOpenAPI30(t *testing.T) {
	for name, c := range map[string]struct{ schema, want string }{
		"null beside a type":         {`{"type":["string","null"],"maxLength":5}`, `{"type":"string","nullable":true,"maxLength":5}`},
		"several types":              {`{"type":["integer","string"]}`, `{}`},
		"several types and null":     {`{"type":["integer","string","null"]}`, `{}`},
		"a constant":                 {`{"const":"a"}`, `{"type":"string","enum":["a"]}`},
		"a constant number":          {`{"const":2}`, `{"type":"integer","enum":[2]}`},
		"values without a type":      {`{"enum":["a","b"]}`, `{"type":"string","enum":["a","b"]}`},
		"values with null":           {`{"type":["string","null"],"enum":["a",null]}`, `{"type":"string","nullable":true,"enum":["a"]}`},
		"examples":                   {`{"type":"string","examples":["a","b"]}`, `{"type":"string","example":"a"}`},
		"no bound that is exclusive": {`{"type":"integer","minimum":1,"maximum":2}`, `{"type":"integer","minimum":1,"maximum":2}`},
		"exclusive bounds": {
			`{"type":"integer","exclusiveMinimum":1,"exclusiveMaximum":2}`,
			`{"type":"integer","minimum":1,"exclusiveMinimum":true,"maximum":2,"exclusiveMaximum":true}`,
		},
		"a reference":               {`{"$ref":"#/components/schemas/Text"}`, `{"$ref":"#/components/schemas/Text"}`},
		"a reference with siblings": {`{"$ref":"#/components/schemas/Text","title":"T"}`, `{"allOf":[{"$ref":"#/components/schemas/Text"}],"title":"T"}`},
		"a reference or null": {
			`{"anyOf":[{"$ref":"#/components/schemas/Text"},{"type":"null"}]}`,
			`{"type":"string","maxLength":9,"nullable":true}`,
		},
		"an object or null": {
			`{"anyOf":[{"$ref":"#/components/schemas/Thing"},{"type":"null"}]}`,
			`{"allOf":[{"$ref":"#/components/schemas/Thing"}],"type":"object","nullable":true}`,
		},
		"a schema or null": {`{"oneOf":[{"type":"array","items":{"const":"a"}},{"type":"null"}]}`, `{"type":"array","items":{"type":"string","enum":["a"]},"nullable":true}`},
		"alternatives": {
			`{"anyOf":[{"type":"string"},{"const":2}]}`,
			`{"anyOf":[{"type":"string"},{"type":"integer","enum":[2]}]}`,
		},
		"deep": {
			`{"type":"object","properties":{"const":{"allOf":[{"type":["boolean","null"]}]}},"additionalProperties":{"const":"a"}}`,
			`{"type":"object","properties":{"const":{"allOf":[{"type":"boolean","nullable":true}]}},"additionalProperties":{"type":"string","enum":["a"]}}`,
		},
		"what looks like a keyword in an example": {`{"type":"object","example":{"const":1}}`, `{"type":"object","example":{"const":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			document := `{"components":{"schemas":{"Text":{"type":"string","maxLength":9},"Thing":{"type":"object"},"Given":` + c.schema + `}}}`
			converted, err := openAPI30([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			var got struct {
				Components struct{ Schemas map[string]any }
			}
			var want any
			if err := json.Unmarshal(converted, &got); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Components.Schemas["Given"], want) {
				t.Errorf("%s\nbecame %v\nwant   %v", c.schema, got.Components.Schemas["Given"], want)
			}
		})
	}
}

// TestTheDocumentAsOpenAPI30: the validator follows each reference, checks each example, and
// refuses what only 3.1 has.
func TestTheDocumentAsOpenAPI30(t *testing.T) {
	asJSON, err := yaml.YAMLToJSON(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	converted, err := openAPI30(asJSON)
	if err != nil {
		t.Fatal(err)
	}
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(converted)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(loader.Context); err != nil {
		t.Error(err)
	}
	newer, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(doc.Paths.InMatchingOrder()), fmt.Sprint(newer.Paths.InMatchingOrder()); got != want || doc.OpenAPI != "3.0.3" {
		t.Errorf("OpenAPI %s has the paths\n%s\nwant\n%s", doc.OpenAPI, got, want)
	}
	var all any
	if err := json.Unmarshal(converted, &all); err != nil {
		t.Fatal(err)
	}
	checkOpenAPI30(t, "#", all)
}

// checkOpenAPI30 looks for what the validator lets through.
func checkOpenAPI30(t *testing.T, where string, node any) {
	t.Helper()
	switch n := node.(type) {
	case []any:
		for i, item := range n {
			checkOpenAPI30(t, fmt.Sprintf("%s/%d", where, i), item)
		}
	case map[string]any:
		if _, isRef := n["$ref"]; isRef && len(n) > 1 {
			t.Errorf("%s: 3.0 ignores what is beside a reference", where)
		}
		if n["nullable"] == true && n["type"] == nil {
			t.Errorf(`%s: 3.0 ignores "nullable" without a type`, where)
		}
		for key, value := range n {
			if scopes, isList := value.([]any); isList && len(scopes) > 0 && strings.Contains(where, "/security/") {
				t.Errorf("%s: 3.0 allows scopes with OAuth alone", where)
			}
			if key != "example" && key != "examples" {
				checkOpenAPI30(t, where+"/"+key, value)
			}
		}
	}
}
