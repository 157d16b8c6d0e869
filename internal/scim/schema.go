package scim

import "strings"

// URNs of schemas and messages.
const (
	userURN       = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupURN      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterpriseURN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

	listURN   = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	errorURN  = "urn:ietf:params:scim:api:messages:2.0:Error"
	patchURN  = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
	searchURN = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
)

// A kind is the data type of an attribute.
type kind string

const (
	textKind      kind = "string"
	booleanKind   kind = "boolean"
	timeKind      kind = "dateTime"
	referenceKind kind = "reference"
	complexKind   kind = "complex"
)

// An attribute describes a member of a resource. The zero values of its fields are the
// defaults of RFC 7643: optional, compared without case, changeable, returned by default.
type attribute struct {
	name        string
	kind        kind
	description string
	multi       bool
	required    bool
	caseExact   bool
	readOnly    bool
	immutable   bool
	unique      bool
	always      bool // returned whatever the request asks for
	references  []string
	sub         []attribute
}

// find returns the attribute with a name, in any case; nil if there is none.
func find(attributes []attribute, name string) *attribute {
	for i := range attributes {
		if strings.EqualFold(attributes[i].name, name) {
			return &attributes[i]
		}
	}
	return nil
}

// A schema is a set of attributes with a URN.
type schema struct {
	urn, name, description string
	attributes             []attribute
}

// A resourceType is a kind of resource: its attributes, those of its extensions, and the
// path of its collection.
type resourceType struct {
	name, endpoint, description string
	core                        *schema
	extensions                  []*schema
}

// common are the attributes of all resources, which no schema lists.
func common() []attribute {
	return []attribute{
		{name: "schemas", kind: textKind, multi: true, caseExact: true, readOnly: true, always: true},
		{name: "id", kind: textKind, caseExact: true, readOnly: true, unique: true, always: true},
		{name: "externalId", kind: textKind, caseExact: true},
		{name: "meta", kind: complexKind, readOnly: true, sub: []attribute{
			{name: "resourceType", kind: textKind, caseExact: true, readOnly: true},
			{name: "created", kind: timeKind, readOnly: true},
			{name: "lastModified", kind: timeKind, readOnly: true},
			{name: "location", kind: referenceKind, caseExact: true, readOnly: true},
			{name: "version", kind: textKind, caseExact: true, readOnly: true},
		}},
	}
}

func userSchema() *schema {
	return &schema{userURN, "User", "A person of the account", []attribute{
		{name: "userName", kind: textKind, required: true, unique: true, description: "Name that the identity provider knows the user by; usually the e-mail address."},
		{name: "name", kind: complexKind, description: "The parts of the user's name.", sub: []attribute{
			{name: "formatted", kind: textKind, description: "The whole name, made of the other two. What a client sends is the displayName, if it sends no other."},
			{name: "familyName", kind: textKind, description: "Last name."},
			{name: "givenName", kind: textKind, description: "First name."},
		}},
		{name: "displayName", kind: textKind, description: "The name that is shown."},
		{name: "active", kind: booleanKind, description: "False for a deactivated user, whose sessions and tokens have ended."},
		{name: "emails", kind: complexKind, multi: true, description: "The e-mail address. Of several, the primary one counts, or else the first of type work.", sub: []attribute{
			{name: "value", kind: textKind, description: "The address."},
			{name: "type", kind: textKind, description: "Always work."},
			{name: "primary", kind: booleanKind, description: "Always true."},
		}},
		{name: "groups", kind: complexKind, multi: true, readOnly: true, description: "The groups that the user is in. Change the groups to change them.", sub: []attribute{
			{name: "value", kind: textKind, caseExact: true, readOnly: true, description: "The id of the group."},
			{name: "$ref", kind: referenceKind, caseExact: true, readOnly: true, references: []string{"Group"}, description: "The URL of the group."},
			{name: "display", kind: textKind, readOnly: true, description: "The name of the group."},
			{name: "type", kind: textKind, readOnly: true, description: "Always direct."},
		}},
	}}
}

func enterpriseSchema() *schema {
	return &schema{enterpriseURN, "EnterpriseUser", "What organizations add to users", []attribute{
		{name: "department", kind: textKind, description: "The department that the user works in."},
	}}
}

func groupSchema() *schema {
	return &schema{groupURN, "Group", "A group of users of the account", []attribute{
		{name: "displayName", kind: textKind, required: true, unique: true, description: "The name of the group."},
		{name: "members", kind: complexKind, multi: true, description: "The users in the group. Groups have no groups in them.", sub: []attribute{
			{name: "value", kind: textKind, caseExact: true, immutable: true, description: "The id of the user."},
			{name: "$ref", kind: referenceKind, caseExact: true, readOnly: true, references: []string{"User"}, description: "The URL of the user."},
			{name: "display", kind: textKind, readOnly: true, description: "The name of the user."},
			{name: "type", kind: textKind, immutable: true, description: "Always User."},
		}},
	}}
}

func userType() *resourceType {
	return &resourceType{"User", "/Users", "A person of the account", userSchema(), []*schema{enterpriseSchema()}}
}

func groupType() *resourceType {
	return &resourceType{"Group", "/Groups", "A group of users of the account", groupSchema(), nil}
}

// schemas are the core schema and the extensions.
func (t *resourceType) schemas() []*schema { return append([]*schema{t.core}, t.extensions...) }

// extension returns the extension with a URN; nil if there is none.
func (t *resourceType) extension(urn string) *schema {
	for _, s := range t.extensions {
		if strings.EqualFold(s.urn, urn) {
			return s
		}
	}
	return nil
}

// attributes are those of the core schema and the common ones.
func (t *resourceType) attributes() []attribute { return append(common(), t.core.attributes...) }

// An attributePath names an attribute, or a sub-attribute of it. urn is "" for the core
// schema. attribute is nil if this server does not know it, or if the path names a whole
// extension; sub is nil for a whole attribute.
type attributePath struct {
	urn       string
	attribute *attribute
	sub       *attribute
	whole     bool // the extension
}

// known reports whether the resource type has what the path names.
func (p *attributePath) known() bool { return p.attribute != nil || p.whole }

// resolve finds what a path without a filter names, such as name.givenName, with or
// without the URN of a schema.
func (t *resourceType) resolve(path string) attributePath {
	if s := t.extension(path); s != nil {
		return attributePath{urn: s.urn, whole: true}
	}
	attributes, urn := t.attributes(), ""
	if len(path) > len("urn:") && strings.EqualFold(path[:len("urn:")], "urn:") {
		dotless := strings.LastIndexByte(path, ':')
		prefix, rest := path[:dotless], path[dotless+1:]
		switch s := t.extension(prefix); {
		case s != nil:
			attributes, urn = s.attributes, s.urn
		case !strings.EqualFold(prefix, t.core.urn):
			return attributePath{}
		}
		path = rest
	}
	name, subName, hasSub := strings.Cut(path, ".")
	a := find(attributes, name)
	if a == nil || !hasSub {
		return attributePath{urn: urn, attribute: a}
	}
	sub := find(a.sub, subName)
	if sub == nil {
		return attributePath{}
	}
	return attributePath{urn: urn, attribute: a, sub: sub}
}
