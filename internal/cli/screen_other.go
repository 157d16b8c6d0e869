//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package cli

import "os"

// isTTY reports whether the file is a terminal, or another character device.
func isTTY(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// sizeOf reports no terminal, so that commands print lines instead of a board.
func sizeOf(*os.File) (area, bool) { return area{}, false }
