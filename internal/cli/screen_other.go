//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package cli

import "os"

// sizeOf reports no terminal, so that commands print lines instead of a board.
func sizeOf(*os.File) (area, bool) { return area{}, false }
