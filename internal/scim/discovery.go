package scim

import (
	"net/http"
	"strings"
)

func (a *API) discoveryRoutes() []route {
	return []route{
		{"GET", "/ServiceProviderConfig", serviceProviderConfig},
		{"GET", "/ResourceTypes", func(c *call) error { return c.writeAll(c.resourceTypes()) }},
		{"GET", "/ResourceTypes/{type}", func(c *call) error { return writeOne(c, c.resourceTypes(), c.r.PathValue("type")) }},
		{"GET", "/Schemas", func(c *call) error { return c.writeAll(c.schemas()) }},
		{"GET", "/Schemas/{schema}", func(c *call) error { return writeOne(c, c.schemas(), c.r.PathValue("schema")) }},
	}
}

// serviceProviderConfig says what the server can do (RFC 7643, section 5).
func serviceProviderConfig(c *call) error {
	return c.write(http.StatusOK, object{
		"schemas":        []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"patch":          object{"supported": true},
		"bulk":           object{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter":         object{"supported": true, "maxResults": maxCount},
		"changePassword": object{"supported": false},
		"sort":           object{"supported": false},
		"etag":           object{"supported": true},
		"authenticationSchemes": []any{object{
			"type": "oauthbearertoken", "name": "Bearer token", "primary": true,
			"description": "An access token with the scope scim:write:admin in the Authorization header.",
			"specUri":     "https://www.rfc-editor.org/info/rfc6750",
		}},
		"meta": object{"resourceType": "ServiceProviderConfig", "location": c.base + "/ServiceProviderConfig"},
	})
}

func (c *call) resourceTypes() (all []object) {
	for _, t := range []*resourceType{userType(), groupType()} {
		extensions := []any{}
		for _, s := range t.extensions {
			extensions = append(extensions, object{"schema": s.urn, "required": false})
		}
		all = append(all, object{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"},
			"id":      t.name, "name": t.name, "endpoint": t.endpoint, "description": t.description,
			"schema": t.core.urn, "schemaExtensions": extensions,
			"meta": object{"resourceType": "ResourceType", "location": c.base + "/ResourceTypes/" + t.name},
		})
	}
	return all
}

func (c *call) schemas() (all []object) {
	for _, s := range append(userType().schemas(), groupType().schemas()...) {
		all = append(all, object{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"},
			"id":      s.urn, "name": s.name, "description": s.description,
			"attributes": definitions(s.attributes),
			"meta":       object{"resourceType": "Schema", "location": c.base + "/Schemas/" + s.urn},
		})
	}
	return all
}

// definitions describe attributes (RFC 7643, section 7).
func definitions(attributes []attribute) []any {
	all := make([]any, 0, len(attributes))
	for i := range attributes {
		all = append(all, attributes[i].definition())
	}
	return all
}

func (a *attribute) definition() object {
	d := object{
		"name": a.name, "type": string(a.kind), "multiValued": a.multi, "description": a.description, "required": a.required,
		"mutability": "readWrite", "returned": "default",
	}
	switch {
	case a.readOnly:
		d["mutability"] = "readOnly"
	case a.immutable:
		d["mutability"] = "immutable"
	}
	if a.kind == textKind || a.kind == referenceKind {
		d["caseExact"] = a.caseExact
	}
	if a.kind != booleanKind {
		d["uniqueness"] = "none"
		if a.unique {
			d["uniqueness"] = "server"
		}
	}
	if a.kind == referenceKind {
		d["referenceTypes"] = a.references
	}
	if a.kind == complexKind {
		d["subAttributes"] = definitions(a.sub)
	}
	return d
}

// writeAll responds with a list of the resources that describe the server. They can be
// neither filtered nor paged (RFC 7644, section 4).
func (c *call) writeAll(all []object) error {
	if c.r.URL.Query().Has("filter") {
		return &Error{Status: http.StatusForbidden, Detail: "What describes the server cannot be filtered."}
	}
	return c.write(http.StatusOK, listOf(all, len(all), 1))
}

// writeOne responds with the resource that has an id.
func writeOne(c *call, all []object, id string) error {
	for _, o := range all {
		if strings.EqualFold(text(o, "id"), id) {
			return c.write(http.StatusOK, o)
		}
	}
	return errNotFound
}

// listOf is a page of a list, which begins at start.
func listOf(page []object, total, start int) object {
	if page == nil {
		page = []object{}
	}
	return object{"schemas": []string{listURN}, "totalResults": total, "itemsPerPage": len(page), "startIndex": start, "Resources": page}
}
