package wire

import (
	"net/http"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/internal/presence"
)

// A Condition is what a request asks of the current representation of what it is
// about: If-Match and If-None-Match (RFC 9110, section 13.1). The zero value asks
// nothing.
type Condition struct{ match, noneMatch []entityTag }

// An entityTag is one of a condition, with its quotes, or "*".
type entityTag struct {
	text string
	weak bool
}

const anyTag = "*"

// ReadCondition reads the condition of a request, or answers a SyntaxError.
func ReadCondition(r *http.Request) (c Condition, err error) {
	if c.match, err = parseTags("If-Match", r.Header["If-Match"]); err != nil {
		return c, err
	}
	c.noneMatch, err = parseTags("If-None-Match", r.Header["If-None-Match"])
	return c, err
}

// Matched reports whether If-Match holds for something with an entity tag; "" is
// one that has none. Weak tags never match. "*" asks that it exists.
func (c *Condition) Matched(tag string, exists bool) bool {
	if len(c.match) == 0 {
		return true
	}
	for _, asked := range c.match {
		if asked.text == tag && !asked.weak || asked.text == anyTag && exists {
			return true
		}
	}
	return false
}

// Excluded reports whether If-None-Match names the entity tag, weak or not, or is
// "*" for something that exists.
func (c *Condition) Excluded(tag string, exists bool) bool {
	for _, asked := range c.noneMatch {
		if asked.text == tag || asked.text == anyTag && exists {
			return true
		}
	}
	return false
}

// parseTags reads a header of entity tags: "*" alone, or a list, which may go on
// over several fields and have empty elements.
func parseTags(name string, fields []string) ([]entityTag, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	var tags []entityTag
	rest := strings.Join(fields, ",")
	if strings.Trim(rest, " \t") == anyTag {
		return []entityTag{{text: anyTag}}, nil
	}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			break
		}
		tag, after, ok := cutTag(rest)
		if !ok {
			return nil, badTags(name)
		}
		tags, rest = append(tags, tag), after
	}
	if len(tags) == 0 {
		return nil, badTags(name)
	}
	return tags, nil
}

func badTags(name string) error {
	return &SyntaxError{Reason: name + ` must be "*" or a list of quoted entity tags`}
}

// cutTag cuts the entity tag off that a list begins with.
func cutTag(list string) (tag entityTag, rest string, ok bool) {
	list, tag.weak = strings.CutPrefix(list, "W/")
	if list == "" || list[0] != '"' {
		return tag, "", false
	}
	end := 1 + strings.IndexByte(list[1:], '"')
	if end == 0 || strings.ContainsFunc(list[1:end], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return tag, "", false
	}
	tag.text, rest = list[:end+1], strings.TrimLeft(list[end+1:], " \t")
	return tag, rest, rest == "" || rest[0] == ','
}

// noRevision replaces an entity tag that no record can have.
const noRevision = presence.AnyRevision - 1

// revisions are the revisions of a user's record that tags stand for. What follows
// a "-" tells apart what is shown of one revision. Weak tags are of none where
// they must not match.
func revisions(tags []entityTag, weakToo bool) []presence.Revision {
	if len(tags) == 0 {
		return nil
	}
	all := make([]presence.Revision, 0, len(tags))
	for _, tag := range tags {
		if tag.text == anyTag {
			return []presence.Revision{presence.AnyRevision}
		}
		digits, _, _ := strings.Cut(strings.Trim(tag.text, `"`), "-")
		n, err := strconv.ParseUint(digits, 10, 64)
		if err != nil || tag.weak && !weakToo || n >= uint64(noRevision) {
			n = uint64(noRevision)
		}
		all = append(all, presence.Revision(n))
	}
	return all
}
