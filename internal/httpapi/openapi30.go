package httpapi

import (
	"encoding/json"
	"path"
	"slices"
)

// The document in the form of OpenAPI 3.0, for generators that cannot read 3.1. It is made
// from the document itself, so that there is no second one to maintain.

// openAPI30 rewrites a document of OpenAPI 3.1, in JSON, as one of 3.0, which does not
// have webhooks: several tools read them as the extension x-webhooks.
func openAPI30(document []byte) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(document, &doc); err != nil {
		return nil, err
	}
	doc["openapi"] = "3.0.3"
	if webhooks, ok := doc["webhooks"]; ok {
		doc["x-webhooks"] = webhooks
		delete(doc, "webhooks")
	}
	if info, ok := doc["info"].(map[string]any); ok {
		delete(info, "summary")
	}
	downgrade(doc)
	components, _ := doc["components"].(map[string]any)
	schemas, _ := components["schemas"].(map[string]any)
	completeNullable(doc, schemas)
	return json.Marshal(doc)
}

// downgrade rewrites the schemas in a part of the document that is not a schema. Examples
// stay as they are: their members only look like keywords.
func downgrade(node any) {
	if list, ok := node.([]any); ok {
		for _, item := range list {
			downgrade(item)
		}
	}
	object, _ := node.(map[string]any)
	for key, value := range object {
		switch key {
		case "example", "examples":
		case "schema":
			downgradeSchema(value)
		case "schemas":
			downgradeMembers(value)
		case "security":
			downgradeSecurity(value)
		default:
			downgrade(value)
		}
	}
}

// downgradeSecurity leaves out the scopes of the requirements: in 3.0, only schemes of OAuth
// and OpenID Connect have them, and the document has schemes of HTTP.
func downgradeSecurity(node any) {
	list, _ := node.([]any)
	for _, item := range list {
		requirement, _ := item.(map[string]any)
		for scheme := range requirement {
			requirement[scheme] = []any{}
		}
	}
}

// downgradeMembers rewrites schemas in an object by name, or in a list.
func downgradeMembers(node any) {
	list, _ := node.([]any)
	for _, schema := range list {
		downgradeSchema(schema)
	}
	object, _ := node.(map[string]any)
	for _, schema := range object {
		downgradeSchema(schema)
	}
}

func downgradeSchema(node any) {
	s, ok := node.(map[string]any)
	if !ok {
		return // true or false
	}
	for _, key := range []string{"items", "additionalProperties"} {
		downgradeSchema(s[key])
	}
	for _, key := range []string{"properties", "anyOf", "oneOf", "allOf"} {
		downgradeMembers(s[key])
	}
	if value, ok := s["const"]; ok {
		s["enum"] = []any{value}
		delete(s, "const")
	}
	if list, ok := s["enum"].([]any); ok { // generators refuse null among values; they read "nullable"
		s["enum"] = slices.DeleteFunc(list, func(value any) bool { return value == nil })
	}
	if list, ok := s["examples"].([]any); ok && len(list) > 0 {
		s["example"] = list[0]
		delete(s, "examples")
	}
	downgradeType(s)
	downgradeBound(s, "minimum", "exclusiveMinimum")
	downgradeBound(s, "maximum", "exclusiveMaximum")
	downgradeAlternatives(s, "anyOf")
	downgradeAlternatives(s, "oneOf")
	if ref, ok := s["$ref"]; ok && len(s) > 1 { // 3.0 ignores what is beside a reference
		s["allOf"] = []any{map[string]any{"$ref": ref}}
		delete(s, "$ref")
	}
}

// downgradeType replaces a list of types. A value of several types, null apart, has none in
// 3.0, where no type means any.
func downgradeType(s map[string]any) {
	if values, ok := s["enum"].([]any); ok && s["type"] == nil && len(values) > 0 {
		s["type"] = "string"
		if _, number := values[0].(float64); number {
			s["type"] = "integer"
		}
	}
	list, ok := s["type"].([]any)
	if !ok {
		return
	}
	delete(s, "type")
	if slices.Contains(list, any("null")) {
		s["nullable"] = true
	}
	rest := slices.DeleteFunc(list, func(name any) bool { return name == "null" })
	if len(rest) == 1 {
		s["type"] = rest[0]
	}
}

// downgradeBound replaces an exclusive bound, which in 3.0 says how to read the other one.
func downgradeBound(s map[string]any, bound, exclusive string) {
	if value, ok := s[exclusive].(float64); ok {
		s[bound], s[exclusive] = value, true
	}
}

// downgradeAlternatives takes null out of a list of alternatives. If one alternative is left,
// the schema is that one.
func downgradeAlternatives(s map[string]any, key string) {
	list, ok := s[key].([]any)
	if !ok {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(list), func(item any) bool {
		schema, _ := item.(map[string]any)
		return schema["type"] == "null"
	})
	if len(rest) == len(list) {
		return
	}
	s["nullable"] = true
	s[key] = rest
	if len(rest) > 1 {
		return
	}
	delete(s, key)
	only, _ := rest[0].(map[string]any)
	if _, isRef := only["$ref"]; isRef {
		s["allOf"] = rest
		return
	}
	for name, value := range only {
		if _, given := s[name]; !given {
			s[name] = value
		}
	}
}

// completeNullable gives each nullable schema its type, without which 3.0 ignores
// "nullable". A schema of several types has none, and allows null anyway. A nullable reference
// to anything but an object is replaced by what it refers to, which refuses null otherwise.
// Generators name the type of an object by its reference, and read "nullable" beside it.
func completeNullable(node any, schemas map[string]any) {
	switch n := node.(type) {
	case []any:
		for _, item := range n {
			completeNullable(item, schemas)
		}
	case map[string]any:
		if n["nullable"] == true && n["type"] == nil {
			if n["type"] = typeOf(n, schemas); n["type"] == nil {
				delete(n, "type")
				delete(n, "nullable")
			}
			if n["type"] != "object" {
				replaceReference(n, schemas)
			}
		}
		for _, value := range n {
			completeNullable(value, schemas)
		}
	}
}

// replaceReference replaces a single reference in allOf by the schema that it refers to.
func replaceReference(n, schemas map[string]any) {
	list, _ := n["allOf"].([]any)
	if len(list) != 1 {
		return
	}
	reference, _ := list[0].(map[string]any)
	name, _ := reference["$ref"].(string)
	referred, ok := schemas[path.Base(name)].(map[string]any)
	if !ok {
		return
	}
	delete(n, "allOf")
	for key, value := range referred {
		if _, given := n[key]; !given {
			n[key] = value
		}
	}
}

// typeOf follows the references of a schema to its type.
func typeOf(s, schemas map[string]any) any {
	if list, ok := s["allOf"].([]any); ok && len(list) == 1 {
		next, _ := list[0].(map[string]any)
		return typeOf(next, schemas)
	}
	ref, ok := s["$ref"].(string)
	if !ok {
		return s["type"]
	}
	next, _ := schemas[path.Base(ref)].(map[string]any)
	return typeOf(next, schemas)
}
