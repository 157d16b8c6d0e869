package scim

import (
	"encoding/json"
	"slices"
	"strings"
)

// Bounds of filters and paths.
const (
	maxFilterBytes = 4096
	maxComparisons = 64
	maxNesting     = 16
)

// A parser reads filters and paths (RFC 7644, figures 1 and 7), which must name
// attributes that the server knows.
type parser struct {
	text    string
	at      int
	resolve func(path string) attributePath
	fault   string // the scimType of errors
	// unknown is set if a path that a PATCH names is not known here.
	unknown     bool
	comparisons int
	nesting     int
}

// parseFilter reads a filter on resources of the type.
func (t *resourceType) parseFilter(text string) (filter, error) {
	p := &parser{text: strings.TrimSpace(text), resolve: t.resolve, fault: invalidFilter}
	if len(text) > maxFilterBytes {
		return nil, p.fail("has more than 4096 bytes")
	}
	f, err := p.alternatives()
	if err == nil && p.at < len(p.text) {
		err = p.unexpected()
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// A target is what an operation of a PATCH changes.
type target struct {
	attributePath

	items filter // of the attribute; nil: all
}

// parseTarget reads the path of an operation. A well-formed path to what is not known
// here gives a target that is not known.
func (t *resourceType) parseTarget(text string) (*target, error) {
	p := &parser{text: strings.TrimSpace(text), resolve: t.resolve, fault: invalidPath}
	if len(text) > maxFilterBytes {
		return nil, p.fail("has more than 4096 bytes")
	}
	name := p.name()
	if name == "" {
		return nil, p.unexpected()
	}
	into := &target{attributePath: t.resolve(name)}
	if !p.take("[") {
		if p.at < len(p.text) {
			return nil, p.unexpected()
		}
		return into, nil
	}
	items, err := p.items(into.attributePath)
	if err != nil {
		return nil, err
	}
	into.items = items
	if p.take(".") {
		sub := p.name()
		if sub == "" {
			return nil, p.unexpected()
		}
		if into.attribute != nil {
			if into.sub = find(into.attribute.sub, sub); into.sub == nil {
				into.attributePath = attributePath{}
			}
		}
	}
	if p.at < len(p.text) {
		return nil, p.unexpected()
	}
	if p.unknown {
		into.attributePath = attributePath{}
	}
	return into, nil
}

func (p *parser) fail(reason string) error {
	what := "filter"
	if p.fault == invalidPath {
		what = "path"
	}
	return invalid(p.fault, "The %s %s.", what, reason)
}

func (p *parser) unexpected() error {
	rest := p.text[p.at:]
	if rest == "" {
		return p.fail("ends too early")
	}
	return p.fail("cannot be read from " + shorten(rest) + " on")
}

// alternatives reads filters that "or" connects.
func (p *parser) alternatives() (filter, error) {
	if p.nesting++; p.nesting > maxNesting {
		return nil, p.fail("is nested too deep")
	}
	defer func() { p.nesting-- }()
	return p.connected("or", func() (filter, error) { return p.connected("and", p.single) })
}

// connected reads filters between which a word stands.
func (p *parser) connected(word string, next func() (filter, error)) (filter, error) {
	f, err := next()
	for err == nil && p.takeWord(word) {
		var right filter
		right, err = next()
		f = &conjunction{any: word == "or", left: f, right: right}
	}
	return f, err
}

func (p *parser) single() (filter, error) {
	p.spaces()
	start := p.at
	not := p.takeWord("not")
	if p.spaces(); !p.take("(") {
		p.at = start
		return p.comparison()
	}
	f, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if p.spaces(); !p.take(")") {
		return nil, p.unexpected()
	}
	if not {
		return &negation{f}, nil
	}
	return f, nil
}

// comparison reads a comparison, or a filter of an attribute's items.
func (p *parser) comparison() (filter, error) {
	if p.comparisons++; p.comparisons > maxComparisons {
		return nil, p.fail("has more than 64 comparisons")
	}
	start := p.at
	name := p.name()
	if name == "" {
		return nil, p.unexpected()
	}
	path := p.resolve(name)
	if path.attribute == nil {
		if p.fault != invalidPath {
			p.at = start
			return nil, p.fail("names the attribute " + shorten(name) + ", which this server does not have")
		}
		p.unknown = true
	}
	if !p.take("[") {
		return p.operator(path)
	}
	items, err := p.items(path)
	if err != nil || path.attribute == nil || !p.take(".") {
		return &itemFilter{path, items}, err
	}
	// Not in the grammar, but common: emails[type eq "work"].value eq "ada@example.com".
	sub := find(path.attribute.sub, p.name())
	if sub == nil {
		return nil, p.unexpected()
	}
	more, err := p.operator(attributePath{attribute: sub})
	return &itemFilter{path, &conjunction{left: items, right: more}}, err
}

// items reads the filter of an attribute's items, after the bracket.
func (p *parser) items(path attributePath) (filter, error) {
	outer := p.resolve
	defer func() { p.resolve = outer }()
	switch {
	case path.attribute == nil:
		p.resolve = func(string) attributePath { return attributePath{} }
	case path.sub != nil || path.attribute.kind != complexKind:
		return nil, p.fail("has brackets after an attribute without parts")
	default:
		p.resolve = func(name string) attributePath { return attributePath{attribute: find(path.attribute.sub, name)} }
	}
	f, err := p.alternatives()
	if err != nil {
		return nil, err
	}
	if p.spaces(); !p.take("]") {
		return nil, p.unexpected()
	}
	return f, nil
}

// operator reads what follows an attribute in a comparison.
func (p *parser) operator(path attributePath) (filter, error) {
	p.spaces()
	start := p.at
	op := strings.ToLower(p.name())
	if !slices.Contains([]string{"pr", "eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"}, op) {
		p.at = start
		return nil, p.unexpected()
	}
	var value any
	if op != "pr" {
		var err error
		if value, err = p.value(); err != nil {
			return nil, err
		}
	}
	if path.attribute == nil {
		return &negation{}, nil // of a path that has no effect
	}
	return newComparison(path, op, value)
}

// value reads a string, true, false, null, or a number, which is returned as a float64.
func (p *parser) value() (any, error) {
	p.spaces()
	start := p.at
	end := valueEnd(p.text[start:])
	raw := p.text[start : start+end]
	switch strings.ToLower(raw) {
	case "true", "false", "null":
		raw = strings.ToLower(raw)
	}
	var value any
	if err := json.Unmarshal([]byte(raw), &value); err != nil {
		return nil, p.unexpected()
	}
	p.at += end
	return value, nil
}

// valueEnd is where a value ends: after the closing quote, or before a space or bracket.
func valueEnd(text string) int {
	if !strings.HasPrefix(text, `"`) {
		if end := strings.IndexAny(text, " )]"); end >= 0 {
			return end
		}
		return len(text)
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// name reads an attribute, with the URN of its schema and its sub-attribute.
func (p *parser) name() string {
	start := p.at
	for p.at < len(p.text) && isNameByte(p.text[p.at]) {
		p.at++
	}
	return p.text[start:p.at]
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("$-_.:", c) >= 0
}

func (p *parser) spaces() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

func (p *parser) take(token string) bool {
	if strings.HasPrefix(p.text[p.at:], token) {
		p.at += len(token)
		return true
	}
	return false
}

// takeWord takes a word in any case that stands alone.
func (p *parser) takeWord(word string) bool {
	start := p.at
	p.spaces()
	if strings.EqualFold(p.name(), word) && (p.at == len(p.text) || strings.IndexByte(" (", p.text[p.at]) >= 0) {
		return true
	}
	p.at = start
	return false
}
