//go:build !linux

package main

import "errors"

// pin binds a process to processors, which needs Linux.
func pin(pid, first, last int) error { return errors.ErrUnsupported }
