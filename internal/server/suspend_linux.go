package server

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the machine's clock that CLOCK_MONOTONIC names, as systemd reads it.
func monotonic() time.Duration {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// suspended is how long the machine was suspended since it booted, which Go's monotonic
// clock leaves out.
func suspended() time.Duration {
	var boot, monotonic unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &monotonic) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - monotonic.Nano())
}
