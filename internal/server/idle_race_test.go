//go:build race

package server_test

const mostIdle = 5_000 // the race detector allows 8,128 goroutines

const raceEnabled = true
