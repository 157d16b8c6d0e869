package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// writeTagged responds to a GET with a representation and its entity tag, if the
// conditions of the request allow it. The tag is "" if there is none.
func (c *call) writeTagged(tag string, data []byte) error {
	asks, err := wire.ReadCondition(c.r)
	if err != nil {
		return err
	}
	if !asks.Matched(tag, true) {
		return presence.ErrPrecondition
	}
	if tag != "" {
		header(c.w, "Etag", tag)
	}
	if asks.Excluded(tag, true) {
		c.setPrivate()
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return c.write(http.StatusOK, data)
}

// writeDigested responds to a GET. The body's digest is the entity tag.
func (c *call) writeDigested(body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.writeTagged(`"`+digest(data)+`"`, data)
}

// writeVersion responds to a GET with a body whose entity tag is tag.
func (c *call) writeVersion(tag string, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.writeTagged(tag, data)
}

// checkConditions returns an error if the object of a write does not meet the
// request's conditions. exists is false if the write would create the object.
func (c *call) checkConditions(tag string, exists bool) error {
	asks, err := wire.ReadCondition(c.r)
	if err == nil && (!asks.Matched(tag, exists) || asks.Excluded(tag, exists)) {
		err = presence.ErrPrecondition
	}
	return err
}

// checkCreate is checkConditions for a POST to a list, which exists and has no
// entity tag that a write could depend on.
func (c *call) checkCreate() error { return c.checkConditions("", true) }

// conditional reports whether the request has conditions.
func (c *call) conditional() bool {
	return len(c.r.Header["If-Match"])+len(c.r.Header["If-None-Match"]) > 0
}

// tagOf is the entity tag of a representation of a document with this version.
func tagOf(version string, body any) string {
	data, _ := json.Marshal([]any{version, body}) // only plain fields are in it
	return `"` + digest(data) + `"`
}

// recordTag is the entity tag of a representation that combines a user's record
// with soft state, which changes without a commit. In a condition, only its
// revision counts.
func recordTag(r presence.Revision, body any) string {
	data, _ := json.Marshal(body) // only plain fields are in it
	tag := wire.ETag(r)
	return tag[:len(tag)-1] + "-" + digest(data) + `"`
}

const digestBytes = 9

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return base64.RawURLEncoding.EncodeToString(sum[:digestBytes])
}
