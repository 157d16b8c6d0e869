// Package api is the native API as data: the types of its JSON bodies, the
// catalogue of its problems, and openapi.yaml, which describes this API and the
// routes of Zoom's that the server speaks.
//
// It is separate, and public, so that servers, clients and tests share one
// spelling of the wire. The types carry no behaviour; a change to one is a change
// to the API, and openapi.yaml changes with it: every exchange of the tests is
// checked against the document.
//
// It must not import anything of this module: the wire is not the domain.
package api

import _ "embed"

// OpenAPI is the document that describes the API, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
