package scim

import (
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"
)

// A filter selects objects.
type filter interface{ matches(o object) bool }

type (
	// A conjunction is "and", or "or" if any is enough.
	conjunction struct {
		any         bool
		left, right filter
	}
	// A negation is "not".
	negation struct{ of filter }
	// A comparison compares the values of an attribute, of which one is enough.
	comparison struct {
		path  attributePath
		op    string
		value any // string, bool, time.Time, or nil for null
	}
	// An itemFilter selects objects of which an item of an attribute matches.
	itemFilter struct {
		path attributePath
		of   filter
	}
)

func (f *conjunction) matches(o object) bool {
	if f.left.matches(o) == f.any {
		return f.any
	}
	return f.right.matches(o)
}

func (f *negation) matches(o object) bool { return !f.of.matches(o) }

func (f *itemFilter) matches(o object) bool {
	for _, item := range f.path.items(o) {
		if item, ok := item.(object); ok && f.of.matches(item) {
			return true
		}
	}
	return false
}

// items are the values of the attribute that a path names, without the sub-attribute.
func (p *attributePath) items(o object) []any {
	if p.urn != "" {
		o = part(o, p.urn)
	}
	switch value := o[p.attribute.name].(type) {
	case nil:
		return nil
	case []any:
		return value
	default:
		return []any{value}
	}
}

// values are those of the attribute or sub-attribute that a path names.
func (p *attributePath) values(o object) []any {
	items := p.items(o)
	if p.sub == nil {
		return items
	}
	values := make([]any, 0, len(items))
	for _, item := range items {
		if item, ok := item.(object); ok && item[p.sub.name] != nil {
			values = append(values, item[p.sub.name])
		}
	}
	return values
}

// leaf is what a path names in the end.
func (p *attributePath) leaf() *attribute {
	if p.sub != nil {
		return p.sub
	}
	return p.attribute
}

// key is the path in the names of the tables, such as emails.value.
func (p *attributePath) key() string {
	name := p.attribute.name
	if p.urn != "" {
		name = p.urn + ":" + name
	}
	if p.sub != nil {
		name += "." + p.sub.name
	}
	return name
}

func (f *comparison) matches(o object) bool {
	values := f.path.values(o)
	switch {
	case f.op == "pr", f.op == "ne" && f.value == nil:
		return len(values) > 0
	case f.value == nil: // eq null
		return len(values) == 0
	case f.op == "ne":
		for _, value := range values {
			if f.compares("eq", value) {
				return false
			}
		}
		return true
	}
	for _, value := range values {
		if f.compares(f.op, value) {
			return true
		}
	}
	return false
}

// compares reports whether one value of the attribute passes.
func (f *comparison) compares(op string, value any) bool {
	switch wanted := f.value.(type) {
	case bool:
		return value == wanted
	case time.Time:
		given, _ := value.(string)
		is, err := time.Parse(time.RFC3339, given)
		return err == nil && ordered(op, is.Compare(wanted))
	case string:
		is, ok := value.(string)
		return ok && compareText(op, is, wanted, f.path.leaf().caseExact)
	default:
		return false
	}
}

func compareText(op, is, wanted string, exact bool) bool {
	if !exact {
		if op == "eq" {
			return strings.EqualFold(is, wanted)
		}
		is, wanted = strings.ToLower(is), strings.ToLower(wanted)
	}
	switch op {
	case "co":
		return strings.Contains(is, wanted)
	case "sw":
		return strings.HasPrefix(is, wanted)
	case "ew":
		return strings.HasSuffix(is, wanted)
	default:
		return ordered(op, strings.Compare(is, wanted))
	}
}

// ordered reports whether the result of a comparison passes.
func ordered(op string, result int) bool {
	switch op {
	case "eq":
		return result == 0
	case "gt":
		return result > 0
	case "ge":
		return result >= 0
	case "lt":
		return result < 0
	case "le":
		return result <= 0
	default:
		return false
	}
}

// newComparison checks that an attribute can be compared so. The values of a complex
// attribute that has several are those of their sub-attribute value.
func newComparison(path attributePath, op string, value any) (*comparison, error) {
	a := path.attribute
	if a.kind == complexKind && path.sub == nil && op != "pr" && value != nil {
		if path.sub = find(a.sub, "value"); path.sub == nil {
			return nil, invalid(invalidFilter, "The attribute %q has parts: compare one of them.", path.key())
		}
	}
	f := &comparison{path, op, value}
	ok := true
	switch leaf := path.leaf(); {
	case op == "pr":
	case value == nil:
		ok = op == "eq" || op == "ne"
	case leaf.kind == booleanKind:
		f.value, ok = boolean(value)
		ok = ok && (op == "eq" || op == "ne")
	case leaf.kind == timeKind:
		given, isText := value.(string)
		at, err := time.Parse(time.RFC3339, given)
		f.value, ok = at, isText && err == nil && op != "co" && op != "sw" && op != "ew"
	default:
		given, isText := value.(string)
		f.value, ok = norm.NFC.String(given), isText
	}
	if !ok {
		return nil, invalid(invalidFilter, "The attribute %q cannot be compared with this value by %q.", path.key(), op)
	}
	return f, nil
}

// A lookup is a value that an indexed attribute must have.
type lookup struct{ key, value string }

// lookups are values of indexed attributes of which every object that the filter selects
// has at least one; ok is false if there are none.
func lookups(f filter, indexed map[string]bool) (found []lookup, ok bool) {
	switch f := f.(type) {
	case *comparison:
		value, isText := f.value.(string)
		if key := f.path.key(); isText && f.op == "eq" && indexed[key] {
			return []lookup{{key, value}}, true
		}
	case *itemFilter:
		inner := make(map[string]bool)
		for key := range indexed {
			if sub, ok := strings.CutPrefix(key, f.path.key()+"."); ok {
				inner[sub] = true
			}
		}
		found, ok = lookups(f.of, inner)
		for i := range found {
			found[i].key = f.path.key() + "." + found[i].key
		}
		return found, ok
	case *conjunction:
		left, leftOK := lookups(f.left, indexed)
		right, rightOK := lookups(f.right, indexed)
		switch {
		case f.any:
			return append(left, right...), leftOK && rightOK
		case leftOK:
			return left, true
		default:
			return right, rightOK
		}
	}
	return nil, false
}

// uses reports whether a filter reads an attribute of the core schema.
func uses(f filter, name string) bool {
	switch f := f.(type) {
	case *comparison:
		return f.path.urn == "" && f.path.attribute.name == name
	case *itemFilter:
		return f.path.urn == "" && f.path.attribute.name == name
	case *negation:
		return uses(f.of, name)
	case *conjunction:
		return uses(f.left, name) || uses(f.right, name)
	default:
		return false
	}
}
