// Package e2e runs third-party clients against the built binary: curl as in Zoom's
// documentation, Postman's runner, Zoom's SDK, and a browser.
//
// It is separate because it tests the product from outside: it imports nothing of this
// module, and uses only the command line and the network. Every server that it starts
// binds to loopback and is stopped by its test.
//
// "make test-tools" installs the required tools. A missing tool is reported as a
// failure, never as a skip.
package e2e
