//go:build !faultinject

package pebblestore

// planting is false in every build that is not for the proofs. The compiler
// removes what is done about it.
const planting = false

func planted(bug) bool { return planting }
