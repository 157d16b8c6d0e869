//go:build race

package pebblestore

// Under the race detector, which is ten times as slow and looks for other things.
const (
	scriptOps = 100
	openings  = 1
	leastStep = 5
)
