//go:build !unix

package server

// checkOwner does nothing where files have no numeric owner.
func checkOwner(string, int) error { return nil }
