package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended is how long the machine was suspended since it booted, which Go's monotonic
// clock leaves out.
func suspended() time.Duration {
	var boot, monotonic unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - monotonic.Nano())
}
