//go:build !race

package server_test

const mostIdle = 10_000

const raceEnabled = false
