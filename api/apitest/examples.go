package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// recordShape notes the shape of a response, so that Invented can compare the examples of the
// document with it.
func (v *Validator) recordShape(operation *openapi3.Operation, status int, media string, body []byte) {
	var value any
	if json.Unmarshal(body, &value) != nil {
		return
	}
	media, _, _ = strings.Cut(media, ";")
	response, code := responseOf(operation, status)
	if response == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	where := place(operation, code, response, media)
	if v.shapes[where] == nil {
		v.shapes[where] = make(map[string]bool)
	}
	v.shapes[where][shape(value)] = true
}

// responseOf is the documented response for a status, and how the document writes the status.
func responseOf(operation *openapi3.Operation, status int) (response *openapi3.ResponseRef, code string) {
	for _, code := range []string{strconv.Itoa(status), strconv.Itoa(status/100) + "XX", "default"} {
		if response := operation.Responses.Value(code); response != nil {
			return response, code
		}
	}
	return nil, ""
}

// place names a kind of body. Operations share those of components.
func place(operation *openapi3.Operation, code string, response *openapi3.ResponseRef, media string) string {
	if response.Ref != "" {
		return response.Ref + " " + media
	}
	return operation.OperationID + " " + code + " " + media
}

// Invented lists the examples of responses that no exchange resembles: each response with this
// name, status and type has other members, or members of other types. Responses without an
// example that a response of a test could be are listed too.
func (v *Validator) Invented() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	wrong := make(map[string]bool)
	for _, item := range v.doc.Paths.Map() {
		for _, operation := range item.Operations() {
			for code, response := range operation.Responses.Map() {
				for media, content := range response.Value.Content {
					if media != "application/json" && !strings.HasSuffix(media, "+json") {
						continue
					}
					if complaint := v.invented(place(operation, code, response, media), content); complaint != "" {
						wrong[complaint] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(wrong))
}

func (v *Validator) invented(where string, content *openapi3.MediaType) string {
	var examples []any
	if content.Example != nil {
		examples = append(examples, content.Example)
	}
	for _, example := range content.Examples {
		examples = append(examples, example.Value.Value)
	}
	if len(examples) == 0 && len(v.shapes[where]) > 0 {
		return where + ": no example"
	}
	for _, example := range examples {
		if !v.shapes[where][shape(example)] {
			return fmt.Sprintf("%s: no response of the tests has the members of the example, %s", where, shape(example))
		}
	}
	return ""
}

// identifier matches ids and addresses, which are members of some objects.
var identifier = regexp.MustCompile(`^([A-Za-z0-9_-]{22}|[^ @]+@[^ @]+)$`)

// shape is what a value consists of: the names of members, the elements of arrays without
// repetitions, and the types of the rest.
func shape(value any) string {
	switch v := value.(type) {
	case map[string]any:
		members := make(map[string]bool)
		for name, member := range v {
			if identifier.MatchString(name) {
				name = "ID"
			}
			members[name+": "+shape(member)] = true
		}
		return "{" + strings.Join(slices.Sorted(maps.Keys(members)), ", ") + "}"
	case []any:
		elements := make(map[string]bool)
		for _, element := range v {
			elements[shape(element)] = true
		}
		return "[" + strings.Join(slices.Sorted(maps.Keys(elements)), ", ") + "]"
	case float64, int, int64, uint64, json.Number:
		return "number"
	}
	return fmt.Sprintf("%T", value)
}
