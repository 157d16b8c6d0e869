//go:build !race

package pebblestore

const (
	// scriptOps is how many operations a script of TestCrashEverywhere has.
	scriptOps = 2000
	// openings is how many times TestCrashWhileOpening draws at each operation.
	openings = 3
	// leastStep is the least distance between the operations that tests make fail, and
	// between the pages that they damage: see faultStep.
	leastStep = 1
)
