// Package api has the types of the native API's JSON bodies, the catalogue of its
// problems, and openapi.yaml, which describes this API and the routes of Zoom's API
// that the server implements.
//
// It is separate, and public, so that servers, clients and tests share one definition
// of the wire format. The types have no behaviour. A change to a type changes the API
// and openapi.yaml: the tests check every exchange against that document.
//
// It must not import anything else of this module, because the wire format is not the
// domain.
package api

import _ "embed"

// OpenAPI is the document that describes the API, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte
