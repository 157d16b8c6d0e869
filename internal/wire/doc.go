// Package wire is what every dialect does alike on the wire: it routes, gives
// each request an id, its access-log line and its metrics, reads bearer
// tokens, bodies and conditions, and lets a handler return an error.
//
// It is separate from the dialects so that none of this is written twice, and
// from server so that tests can serve one dialect alone. It guarantees that
// every answer, 404 and 405 and panics among them, has the form of the dialect
// that the path belongs to, and that no request is redirected.
//
// It must not know any dialect's words, and decides nothing about presence.
package wire
