// Package zoomapi speaks Zoom's presence API: PUT and GET
// /v2/users/{userId}/presence_status, contacts with their presence, and Zoom's words for
// a status, errors and rate limits. Package presence, behind publish and view, decides
// which changes are allowed.
//
// It is separate so that Zoom's vocabulary is in one package: another vendor's dialect is
// a sibling of this package and changes nothing below it. It guarantees that every
// response under /v2/ has the format that Zoom documents, and that an account cannot
// distinguish another account's users from unknown ones. Where Zoom's documentation is
// silent or contradicts itself, docs/divergences.md records the choice.
//
// It must not decide anything about presence, and it maps errors only in errors.go.
package zoomapi
