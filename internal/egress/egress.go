// Package egress makes outgoing HTTP requests to addresses that users chose.
//
// It is separate so that the rule for permitted addresses exists once and in a place
// that can be tested against hostile names. It guarantees that no connection is made to
// an address that is private, local or otherwise special unless the operator allowed its
// network, whatever a name resolves to at that moment. It must not follow redirects.
package egress
