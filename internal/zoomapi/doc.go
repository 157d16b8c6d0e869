// Package zoomapi speaks Zoom's presence API: PUT and GET
// /v2/users/{userId}/presence_status, the contacts that show presence, its words
// for a status, its errors and its limits of requests. What a status may become and when is decided in
// package presence, behind publish and view.
//
// It is separate so that Zoom's vocabulary stands nowhere else: the dialect of
// another vendor is a sibling of this package, and changes nothing below it. It
// guarantees that every answer under /v2/ has the form that Zoom documents, and
// that one account cannot tell another's users from none. Where Zoom's material
// is silent or contradicts itself, docs/divergences.md has what was chosen.
//
// It must not decide anything about presence, nor answer an error anywhere but
// in errors.go.
package zoomapi
