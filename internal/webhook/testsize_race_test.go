//go:build race

package webhook_test

// Under the race detector, which is ten times as slow and looks for other things.
const (
	outages  = 2
	restarts = 4
)
