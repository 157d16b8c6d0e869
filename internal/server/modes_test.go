package server_test

import "porchlight.dev/porchlight/internal/config"

// fastPaths are the values of the setting that tests run with.
func fastPaths() []bool { return []bool{true} }

func setFastPath(*config.Config, bool) {}

func isFast(*config.Config) bool { return false }
