package scim

import (
	"net/url"
	"strings"
)

// A projection is the part of resources that a request asks for: all that is returned by
// default, or the attributes of included alone, without those of excluded.
type projection struct {
	t                  *resourceType
	included, excluded []attributePath
	only               bool // included counts
}

// projectionOf reads the parameters attributes and excludedAttributes.
func (t *resourceType) projectionOf(q url.Values) *projection {
	return t.newProjection(names(q.Get("attributes")), names(q.Get("excludedAttributes")), q.Get("attributes") != "")
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// newProjection ignores names that are not known here.
func (t *resourceType) newProjection(included, excluded []string, only bool) *projection {
	resolved := func(names []string) (paths []attributePath) {
		for _, name := range names {
			if path := t.resolve(name); path.known() {
				paths = append(paths, path)
			}
		}
		return paths
	}
	return &projection{t, resolved(included), resolved(excluded), only}
}

// wants reports whether an attribute of the core schema is in the result.
func (p *projection) wants(name string) bool {
	names := func(paths []attributePath, partly bool) bool {
		for _, path := range paths {
			if path.urn == "" && path.attribute != nil && path.attribute.name == name && (partly || path.sub == nil) {
				return true
			}
		}
		return false
	}
	return (!p.only || names(p.included, true)) && !names(p.excluded, false)
}

// of is the part of a resource that is asked for.
func (p *projection) of(o object) object {
	out := make(object)
	if !p.only {
		merge(out, o)
	}
	for i := range p.included {
		p.included[i].copy(out, o)
	}
	for i := range p.excluded {
		p.excluded[i].remove(out)
	}
	for _, a := range common() {
		if value, ok := o[a.name]; ok && a.always {
			out[a.name] = value
		}
	}
	return out
}

// copy copies what the path names.
func (p *attributePath) copy(to, from object) {
	if p.urn != "" {
		if from = part(from, p.urn); from == nil {
			return
		}
		if p.whole {
			to[p.urn] = from
			return
		}
		to = container(to, p.urn)
	}
	value, ok := from[p.attribute.name]
	if !ok {
		return
	}
	if p.sub == nil {
		to[p.attribute.name] = value
		return
	}
	switch value := value.(type) {
	case object:
		copySub(container(to, p.attribute.name), value, p.sub.name)
	case []any:
		to[p.attribute.name] = p.copyItems(list(to, p.attribute.name), value)
	}
}

// copyItems copies a sub-attribute of each item, beside those that were copied before.
func (p *attributePath) copyItems(to, from []any) []any {
	if to == nil {
		for range from {
			to = append(to, make(object))
		}
	}
	for i := range from {
		copySub(asObject(to[i]), asObject(from[i]), p.sub.name)
	}
	return to
}

func copySub(to, from object, name string) {
	if value, ok := from[name]; ok {
		to[name] = value
	}
}

// remove removes what the path names. It changes no object that it shares with another
// resource.
func (p *attributePath) remove(o object) {
	if p.whole {
		delete(o, p.urn)
		return
	}
	if p.urn != "" {
		inner := make(object)
		merge(inner, part(o, p.urn))
		o[p.urn] = inner
		o = inner
	}
	switch value := o[p.attribute.name].(type) {
	case object:
		if p.sub != nil {
			o[p.attribute.name] = without(value, p.sub.name)
			return
		}
	case []any:
		if p.sub != nil {
			items := make([]any, len(value))
			for i := range value {
				items[i] = without(asObject(value[i]), p.sub.name)
			}
			o[p.attribute.name] = items
			return
		}
	}
	delete(o, p.attribute.name)
}

func without(o object, name string) object {
	rest := make(object)
	merge(rest, o)
	delete(rest, name)
	return rest
}
