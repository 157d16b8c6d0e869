// Package ext replaces the module of extensions of Traefik's commercial edition, which is not
// published. In the free edition its types are empty.
package ext

// HTTP extends the dynamic configuration.
type HTTP struct{}

// Router extends a router.
type Router struct{}
