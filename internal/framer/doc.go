// Package framer reads HTTP/1.x connections one message at a time: it offers each request
// to a Fast and gives every other to net/http through a virtual connection.
//
// It is separate because it must be the only reader of a connection: two readers that
// disagree about where a message ends would let a request be smuggled from one to the
// other. It guarantees that a message of ambiguous framing is refused before anything
// acts on it, that nothing reads beyond the message it was given, and that an idle
// connection has no buffer.
//
// It must not know a route, a header's meaning beyond framing, or anything of the module.
package framer
