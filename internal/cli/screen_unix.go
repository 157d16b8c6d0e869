//go:build linux || darwin || freebsd || netbsd || openbsd

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTTY reports whether the file is a terminal.
func isTTY(file *os.File) bool {
	_, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// sizeOf is false if the file is not a terminal.
func sizeOf(file *os.File) (area, bool) {
	got, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil || got.Col == 0 || got.Row == 0 {
		return area{}, false
	}
	return area{int(got.Col), int(got.Row)}, true
}
