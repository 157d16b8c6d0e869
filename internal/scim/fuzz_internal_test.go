package scim

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
)

// FuzzFilter: every text is a filter that can be run and means the same when it is read
// again, or a 400.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{
		`userName eq "ada@example.com"`, `not (active eq true) and emails[type eq "work"].value co "x" or meta.created gt "2026-11-22T12:00:00Z"`,
		`externalId pr`, enterpriseURN + `:department ew "\u00e9\\\""`, `groups[value eq "x" and not (display pr)]`, `name.givenName eq null`, `((`, `emails[`, `a eq`, `"`,
	} {
		f.Add(text)
	}
	o := object{
		"userName": "ada@example.com", "active": true, "name": object{"givenName": "Ada"}, "emails": []any{object{"value": "x", "type": "work", "primary": true}},
		enterpriseURN: object{"department": "x"}, "meta": object{"created": "2026-11-22T12:00:00.000Z"}, "groups": []any{object{"value": "x"}},
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, resource := range []*resourceType{userType(), groupType()} {
			found, err := resource.parseFilter(text)
			if err != nil {
				checkInvalid(t, err)
				continue
			}
			again, err := resource.parseFilter(text)
			if err != nil || found.matches(o) != again.matches(o) {
				t.Errorf("%q: %v", text, err)
			}
			lookups(found, map[string]bool{"userName": true, "emails.value": true, "displayName": true})
			uses(found, "groups")
		}
	})
}

func checkInvalid(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusBadRequest || e.ScimType == "" || e.Detail == "" {
		t.Errorf("the error is %#v", err)
	}
}

// FuzzPatch: every body is a change of a user that leaves a resource as the tables describe
// it, or an error of the client; and the same change twice is the change once, unless it
// adds or removes.
func FuzzPatch(f *testing.F) {
	for _, operations := range []string{
		`{"op":"replace","value":{"active":false}}`, `{"op":"Replace","path":"active","value":"False"}`, `{"op":"Add","path":"emails[type eq \"work\"].value","value":"x"}`,
		`{"op":"remove","path":"emails[value co \"x\"]"}`, `{"op":"replace","path":"emails.value","value":"x"}`, `{"op":"add","value":{"name.givenName":"x","` + enterpriseURN + `":{"department":"x"}}}`,
		`{"op":"remove","path":"name"},{"op":"add","path":"name.familyName","value":["x"]}`, `{"op":"replace","path":"` + enterpriseURN + `:department","value":null}`,
		`{"op":"replace","path":"emails[primary eq \"true\"]","value":{"value":"x"}}`, `{"op":"add","path":"phoneNumbers[type eq \"mobile\"].value","value":{}}`,
	} {
		f.Add([]byte(`{"schemas":["` + patchURN + `"],"Operations":[` + operations + `]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		given, err := parseObject(body)
		if err != nil {
			if e := errorOf(err); e.Status != http.StatusBadRequest {
				t.Errorf("%s: %v", body, err)
			}
			return
		}
		resource := userType()
		operations, err := resource.parsePatch(given)
		if err != nil {
			checkInvalid(t, err)
			return
		}
		o := object{
			"userName": "ada@example.com", "name": object{"givenName": "Ada"}, "emails": []any{object{"value": "ada@example.com", "type": "work", "primary": true}},
			enterpriseURN: object{"department": "x"},
		}
		if err := resource.apply(o, operations); err != nil {
			checkInvalid(t, err)
			return
		}
		checkObject(t, resource, o)
		// A resource that is read from its JSON is the same.
		text, err := encode(o)
		if err != nil {
			t.Fatal(err)
		}
		read, err := parseObject(text)
		if err != nil {
			t.Fatal(err)
		}
		cleaned, err := resource.clean(read)
		if err != nil {
			t.Errorf("%s became %s: %v", body, text, err)
			return
		}
		checkObject(t, resource, cleaned)
	})
}

// checkObject checks that a resource has only what the tables know, and no empty values.
func checkObject(t *testing.T, resource *resourceType, o object) {
	t.Helper()
	for name, value := range o {
		if s := resource.extension(name); s != nil {
			checkMembers(t, s.attributes, value.(object)) //nolint:errcheck // a type assertion that panics fails the test
			continue
		}
		checkMembers(t, resource.attributes(), object{name: value})
	}
	if text, err := json.Marshal(o); err != nil {
		t.Errorf("%v: %v", o, err)
	} else if len(text) == 0 {
		t.Error("no text")
	}
}

func checkMembers(t *testing.T, attributes []attribute, o object) {
	t.Helper()
	for name, value := range o {
		a := find(attributes, name)
		if a == nil || a.name != name || a.readOnly {
			t.Errorf("the attribute %q is not one that clients set", name)
			continue
		}
		items := []any{value}
		if a.multi {
			items = value.([]any) //nolint:errcheck // a type assertion that panics fails the test
		}
		for _, item := range items {
			switch a.kind {
			case complexKind:
				checkMembers(t, a.sub, item.(object)) //nolint:errcheck // a type assertion that panics fails the test
			case booleanKind:
				_ = item.(bool) //nolint:errcheck // a type assertion that panics fails the test
			default:
				if item.(string) == "" { //nolint:errcheck // a type assertion that panics fails the test
					t.Errorf("the attribute %q is empty", name)
				}
			}
		}
	}
}
