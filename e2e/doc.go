// Package e2e runs other people's clients against the built binary: curl as
// Zoom's documentation has it, Postman's runner, Zoom's own SDK, and a browser.
//
// It is separate because it tests the product from outside: it imports nothing
// of this module and knows only the command line and the wire. Every server it
// starts binds to loopback and is stopped by the test that started it.
//
// What it needs is installed by "make test-tools". A missing tool is a failure
// that says so, never a skip.
package e2e
