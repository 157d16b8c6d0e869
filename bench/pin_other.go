//go:build !linux

package main

import "errors"

// pin binds a process to processors, which needs Linux.
func pin(_, _, _ int) error { return errors.ErrUnsupported }
