//go:build !linux

package server

import "time"

// suspended is not known here: after a sleep the clock catches up slowly.
func suspended() time.Duration { return 0 }

// monotonic is needed for systemd, which runs on Linux only.
func monotonic() time.Duration { return 0 }
