package scim

import (
	"fmt"
	"slices"
	"strings"
)

// An operation is one of a PATCH. A nil target is the resource itself.
type operation struct {
	verb   string // add, replace or remove
	target *target
	value  any // nil: none, or null
}

// parsePatch reads the body of a PATCH.
func (t *resourceType) parsePatch(body object) ([]operation, error) {
	if err := checkMessage(body, patchURN); err != nil {
		return nil, err
	}
	given, _ := member(body, "Operations")
	items, ok := given.([]any)
	if !ok || len(items) == 0 {
		return nil, invalid(invalidSyntax, "The body must have an array \"Operations\" with at least one operation.")
	}
	operations := make([]operation, 0, len(items))
	for _, item := range items {
		op, err := t.parseOperation(item)
		if err != nil {
			return nil, err
		}
		operations = append(operations, op)
	}
	return operations, nil
}

// checkMessage refuses a body that is not the message with a URN.
func checkMessage(body object, urn string) error {
	if err := checkSchemas(body); err != nil {
		return err
	}
	given, _ := member(body, "schemas")
	listed, _ := given.([]any)
	if !slices.ContainsFunc(listed, func(s any) bool { return strings.EqualFold(fmt.Sprint(s), urn) }) {
		return invalid(invalidSyntax, "The body must have \"schemas\" with %s.", urn)
	}
	return nil
}

func (t *resourceType) parseOperation(item any) (op operation, err error) {
	given, ok := item.(object)
	if !ok {
		return op, invalid(invalidSyntax, "Each of \"Operations\" must be an object.")
	}
	verb, _ := member(given, "op")
	word, _ := verb.(string)
	op.verb = strings.ToLower(word)
	if !slices.Contains([]string{"add", "replace", "remove"}, op.verb) {
		return op, invalid(invalidSyntax, "The operation %q is not one: op must be add, replace or remove.", shorten(word))
	}
	op.value, _ = member(given, "value")
	path, hasPath := member(given, "path")
	where, isText := path.(string)
	switch {
	case hasPath && !isText:
		return op, invalid(invalidPath, "The path must be a string.")
	case where != "":
		if op.target, err = t.parseTarget(where); err != nil {
			return op, err
		}
	case op.verb == "remove":
		return op, invalid(noTarget, "The operation remove needs a path.")
	}
	if op.verb == "add" && op.value == nil && (op.target == nil || op.target.known()) {
		return op, invalid(invalidValue, "The operation add needs a value.")
	}
	return op, nil
}

// apply changes a resource by the operations. After an error, the resource is of no use.
func (t *resourceType) apply(o object, operations []operation) error {
	for i := range operations {
		if err := t.applyOne(o, &operations[i]); err != nil {
			return err
		}
	}
	return nil
}

func (t *resourceType) applyOne(o object, op *operation) error {
	if op.target == nil {
		return t.applyMembers(o, op)
	}
	at := op.target
	switch {
	case at.whole:
		return t.applyExtension(o, op)
	case !at.known():
		return nil // identity providers send attributes that nobody here knows
	case at.attribute.readOnly || at.sub != nil && at.sub.readOnly:
		return invalid(mutability, "The attribute %q is read-only.", at.key())
	}
	in := container(o, at.urn)
	if at.attribute.multi {
		return applyItems(in, op)
	}
	return applySingle(in, op)
}

// applyMembers applies an operation without a path, whose value has attributes or paths
// as names. What is unknown or read-only is ignored.
func (t *resourceType) applyMembers(o object, op *operation) error {
	members, ok := op.value.(object)
	if !ok {
		return invalid(invalidValue, "The value of an operation without a path must be an object.")
	}
	for name, value := range members {
		path := t.resolve(name)
		if !path.known() || path.attribute != nil && path.attribute.readOnly || path.sub != nil && path.sub.readOnly {
			continue
		}
		one := operation{op.verb, &target{attributePath: path}, value}
		if err := t.applyOne(o, &one); err != nil {
			return err
		}
	}
	return nil
}

// applyExtension applies an operation to all of an extension.
func (t *resourceType) applyExtension(o object, op *operation) error {
	urn := op.target.urn
	if op.verb == "remove" || op.value == nil {
		delete(o, urn)
		return nil
	}
	members, ok := op.value.(object)
	if !ok {
		return wrongType(urn, "an object")
	}
	for name, value := range members {
		path := t.resolve(urn + ":" + name)
		if path.attribute == nil {
			continue
		}
		if err := t.applyOne(o, &operation{op.verb, &target{attributePath: path}, value}); err != nil {
			return err
		}
	}
	return nil
}

// applySingle applies an operation to an attribute with one value.
func applySingle(in object, op *operation) error {
	at := op.target
	name := at.attribute.name
	switch {
	case at.items != nil:
		return invalid(invalidPath, "The attribute %q has one value, so its path takes no brackets.", at.key())
	case at.sub != nil:
		value, err := op.cleanValue(at.sub)
		if err != nil {
			return err
		}
		members := part(in, name)
		if members == nil {
			members = make(object)
		}
		setMember(members, at.sub.name, value)
		in[name] = members
		return nil
	}
	value, err := op.cleanValue(at.attribute)
	if err != nil {
		return err
	}
	if members, ok := value.(object); ok { // what it does not name stays
		merge(members, part(in, name))
	}
	setMember(in, name, value)
	return nil
}

// cleanValue is the value of an operation for an attribute; nil removes it.
func (op *operation) cleanValue(a *attribute) (any, error) {
	if op.verb == "remove" || op.value == nil {
		return nil, nil //nolint:nilnil // no value is a result
	}
	value := op.value
	if items, ok := value.([]any); ok && !a.multi && len(items) == 1 {
		value = items[0] // as some identity providers send it
	}
	return a.clean(value, op.target.key())
}

// merge adds the members of from that o does not have.
func merge(o, from object) {
	for name, value := range from {
		if _, ok := o[name]; !ok {
			o[name] = value
		}
	}
}

// applyItems applies an operation to an attribute with several values.
func applyItems(in object, op *operation) error {
	at := op.target
	items := list(in, at.attribute.name)
	if at.items == nil && at.sub == nil {
		changed, err := op.changeList(items)
		if err != nil {
			return err
		}
		return setItems(in, at, changed)
	}
	if op.verb == "remove" && at.sub == nil {
		kept := slices.DeleteFunc(slices.Clone(items), func(item any) bool { return at.items.matches(asObject(item)) })
		return setItems(in, at, kept)
	}
	changed, err := op.changeItems(items)
	if err != nil {
		return err
	}
	return setItems(in, at, changed)
}

func setItems(in object, at *target, items []any) error {
	if len(items) == 0 {
		delete(in, at.attribute.name)
		return nil
	}
	in[at.attribute.name] = items
	return nil
}

// changeList applies an operation to all items. Some identity providers name the items to
// remove in the value.
func (op *operation) changeList(items []any) ([]any, error) {
	if op.value == nil {
		return nil, nil
	}
	given, err := op.target.attribute.clean(op.value, op.target.key())
	if err != nil {
		return nil, err
	}
	named, _ := given.([]any)
	same := func(item any) bool {
		return slices.ContainsFunc(named, func(n any) bool { return text(asObject(n), "value") == text(asObject(item), "value") })
	}
	switch op.verb {
	case "replace":
		return named, nil
	case "remove":
		return slices.DeleteFunc(slices.Clone(items), same), nil
	default:
		return append(slices.DeleteFunc(slices.Clone(items), same), named...), nil
	}
}

// changeItems changes the items that the path selects, or a part of them. If there are
// none, it adds one that the path would select.
func (op *operation) changeItems(items []any) ([]any, error) {
	at := op.target
	var value any
	var err error
	if at.sub != nil {
		value, err = op.cleanValue(at.sub)
	} else {
		value, err = at.attribute.cleanOne(op.value, at.key())
	}
	if err != nil {
		return nil, err
	}
	changed, matched := make([]any, 0, len(items)+1), false
	for _, item := range items {
		item := asObject(item)
		if at.items == nil || at.items.matches(item) {
			matched = true
			item = at.changed(item, value)
		}
		changed = append(changed, item)
	}
	if matched || op.verb == "remove" {
		return changed, nil
	}
	made := make(object)
	if !selected(at.items, made) {
		return nil, invalid(noTarget, "No value of %q matches the path.", at.attribute.name)
	}
	return append(changed, at.changed(made, value)), nil
}

// changed is an item with the new value of the sub-attribute, or with new members.
func (at *target) changed(item object, value any) object {
	after := make(object, len(item)+1)
	merge(after, item)
	if at.sub != nil {
		setMember(after, at.sub.name, value)
		return after
	}
	members, _ := value.(object)
	for name, value := range members {
		after[name] = value
	}
	return after
}

// selected sets in item what a filter asks for, if it says so by equality alone.
func selected(f filter, item object) bool {
	switch f := f.(type) {
	case nil:
		return true
	case *comparison:
		item[f.path.attribute.name] = f.value
		return f.op == "eq" && f.value != nil
	case *conjunction:
		return !f.any && selected(f.left, item) && selected(f.right, item)
	default:
		return false
	}
}
