// Package porchlight is the root of the module, and holds no code: the server is
// the command porchlight.dev/porchlight/cmd/porchlight, the Go client is package
// client, and the wire types are in package api.
//
// It is a package so that arch_test.go can hold the rules about all the others,
// and so that what is generated for the documents has a place to be asked for.
package porchlight

//go:generate sh -c "go run ./cmd/porchlight config doc > docs/settings.md"
//go:generate go run ./cmd/porchlight __reference docs/cli.md man
