//go:build faultinject

package pebblestore

import "os"

const planting = true

// planted reports whether a bug is planted: by its name in the environment.
func planted(b bug) bool { return os.Getenv("PORCHLIGHT_PLANTED") == string(b) }
