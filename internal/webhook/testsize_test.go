//go:build !race

package webhook_test

const (
	outages  = 5
	restarts = 20
)
