//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package cli

import "os"

// tryLock does nothing. Two processes may refresh a login at once; the server gives both
// the same tokens.
func tryLock(*os.File) (bool, error) { return true, nil }

// private is always true: the mode does not show here whether a file is private. The
// directory of the user's settings is private by default.
func private(os.FileInfo) bool { return true }
