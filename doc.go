// Package porchlight is the root of the module, and holds no code: the server is
// the command porchlight.dev/porchlight/cmd/porchlight, the Go client is package
// client, and the wire types are in package api.
//
// It is a package so that arch_test.go can hold the rules about all the others.
package porchlight
