//go:build !race

package pebblestore

const (
	// scriptOps is how many operations a script of TestCrashEverywhere has.
	scriptOps = 2000
	// openings is how many times TestCrashWhileOpening draws at each operation.
	openings = 3
	// faultStep is the distance between the operations that tests make fail, and
	// between the pages that they damage.
	faultStep = 1
)
