// Package fastpath answers hot routes without net/http, which costs more than the routes
// themselves. It is for requests outside net/http what wire is for those inside: it finds
// the route, the token's principal and the request's id, writes the header and the body,
// and has the request counted and logged.
//
// It is separate from wire so that nothing else depends on framer, and from the dialects
// so that none of this is written twice. It guarantees that a request is either answered
// as net/http and the dialect's handler would answer it, to the byte, or declined, which
// leaves it to them. Therefore it declines whatever it does not understand completely.
//
// It must not know a dialect's words, nor hold a rule that wire, auth or a dialect has.
package fastpath
