package scim

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// An object is a resource, or a part of one, in JSON's types. Its names are those of the
// tables, in their case. A member that has no value is absent.
type object = map[string]any

// Media types of bodies.
const (
	scimType = "application/scim+json"
	jsonType = "application/json"
)

// maxBody bounds bodies, in bytes.
const maxBody = 1 << 20

// readObject reads the body of a request: a JSON object. Names that differ only in case
// are the same.
func readObject(w http.ResponseWriter, r *http.Request) (object, error) {
	kind, _, err := wire.MediaType(r)
	if err != nil {
		return nil, err
	}
	if kind != scimType && kind != jsonType && kind != "" {
		return nil, &wire.MediaTypeError{Given: r.Header.Get("Content-Type"), Accepted: scimType + " and " + jsonType}
	}
	body, err := wire.ReadBody(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	return parseObject(body)
}

func parseObject(body []byte) (object, error) {
	var given object
	err := wire.DecodeKnown(body, &given)
	if e, ok := errors.AsType[*presence.FieldError](err); ok {
		return nil, invalid(invalidSyntax, "The attribute %q %s.", e.Field, e.Reason)
	}
	if err != nil {
		return nil, err
	}
	return given, checkNames(given, "")
}

// checkNames refuses an object with two names that differ only in case.
func checkNames(value any, path string) error {
	switch value := value.(type) {
	case object:
		seen := make(map[string]bool, len(value))
		for name, member := range value {
			lower := strings.ToLower(name)
			if seen[lower] {
				return invalid(invalidSyntax, "The attribute %q is given more than once.", shorten(path+name))
			}
			seen[lower] = true
			if err := checkNames(member, path+name+"."); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range value {
			if err := checkNames(item, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// member returns the member of an object with a name in any case.
func member(o object, name string) (any, bool) {
	if value, ok := o[name]; ok {
		return value, true
	}
	for given, value := range o {
		if strings.EqualFold(given, name) {
			return value, true
		}
	}
	return nil, false
}

// clean returns the part of a client's object that the resource type has and clients may
// set, with names as in the tables and checked values.
func (t *resourceType) clean(given object) (object, error) {
	if err := checkSchemas(given); err != nil {
		return nil, err
	}
	cleaned := make(object)
	for name, value := range given {
		if s := t.extension(name); s != nil {
			members, ok := value.(object)
			if !ok {
				return nil, wrongType(s.urn, "an object")
			}
			part, err := cleanMembers(s.attributes, members, s.urn+":")
			if err != nil {
				return nil, err
			}
			if len(part) > 0 {
				cleaned[s.urn] = part
			}
			continue
		}
		path := t.resolve(name)
		if path.attribute == nil || path.sub != nil || path.attribute.readOnly {
			continue
		}
		value, err := path.attribute.clean(value, path.attribute.name)
		if err != nil {
			return nil, err
		}
		setMember(container(cleaned, path.urn), path.attribute.name, value)
	}
	return cleaned, nil
}

// checkSchemas refuses a list of schemas that is not one.
func checkSchemas(given object) error {
	value, ok := member(given, "schemas")
	if !ok {
		return nil
	}
	list, ok := value.([]any)
	for i := 0; ok && i < len(list); i++ {
		_, ok = list[i].(string)
	}
	if !ok {
		return wrongType("schemas", "an array of strings")
	}
	return nil
}

// cleanMembers is clean for the members of a complex attribute or an extension.
func cleanMembers(attributes []attribute, given object, path string) (object, error) {
	cleaned := make(object)
	for name, value := range given {
		a := find(attributes, name)
		if a == nil || a.readOnly {
			continue
		}
		value, err := a.clean(value, path+a.name)
		if err != nil {
			return nil, err
		}
		setMember(cleaned, a.name, value)
	}
	return cleaned, nil
}

// clean checks a value of the attribute. One value is enough for one that takes several.
// The result is nil if there is no value.
func (a *attribute) clean(value any, path string) (any, error) {
	if !a.multi {
		return a.cleanOne(value, path)
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	cleaned := make([]any, 0, len(list))
	for _, item := range list {
		item, err := a.cleanOne(item, path)
		if err != nil {
			return nil, err
		}
		if item != nil {
			cleaned = append(cleaned, item)
		}
	}
	if len(cleaned) == 0 {
		return nil, nil //nolint:nilnil // no value is a result
	}
	return cleaned, nil
}

func (a *attribute) cleanOne(value any, path string) (any, error) {
	if value == nil {
		return nil, nil //nolint:nilnil // no value is a result
	}
	switch a.kind {
	case complexKind:
		members, ok := value.(object)
		if !ok {
			return nil, wrongType(path, "an object")
		}
		cleaned, err := cleanMembers(a.sub, members, path+".")
		if err != nil || len(cleaned) == 0 && !a.multi {
			return nil, err
		}
		return cleaned, nil
	case booleanKind:
		b, ok := boolean(value)
		if !ok {
			return nil, wrongType(path, "true or false")
		}
		return b, nil
	default:
		text, ok := value.(string)
		switch {
		case !ok:
			return nil, wrongType(path, "a string")
		case text == "":
			return nil, nil //nolint:nilnil // no value is a result
		}
		return text, nil
	}
}

// boolean reads a boolean, which some identity providers send as a string.
func boolean(value any) (b, ok bool) {
	switch value := value.(type) {
	case bool:
		return value, true
	case string:
		switch strings.ToLower(value) {
		case "true":
			return true, true
		case "false":
			return false, true
		}
	}
	return false, false
}

func wrongType(path, wanted string) error {
	return invalid(invalidValue, "The attribute %q must be %s.", path, wanted)
}

// setMember sets a member, or removes it if value is nil.
func setMember(o object, name string, value any) {
	if value == nil {
		delete(o, name)
		return
	}
	o[name] = value
}

// container is the object that has the attributes of a schema: the resource itself, or the
// object of an extension, which is made if it is absent.
func container(o object, urn string) object {
	if urn == "" {
		return o
	}
	part, ok := o[urn].(object)
	if !ok {
		part = make(object)
		o[urn] = part
	}
	return part
}

// asObject is an item of an array of objects.
func asObject(item any) object {
	o, _ := item.(object)
	return o
}

// text is a member that is a string; "" if it is absent.
func text(o object, name string) string {
	value, _ := o[name].(string)
	return value
}

// part is a member that is an object; nil if it is absent.
func part(o object, name string) object {
	value, _ := o[name].(object)
	return value
}

// list is a member that is an array; nil if it is absent.
func list(o object, name string) []any {
	value, _ := o[name].([]any)
	return value
}

// encode is the JSON of a response.
func encode(value any) ([]byte, error) {
	data, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a response: %w", err)
	}
	return append(bytes.TrimSpace(data), '\n'), nil
}
