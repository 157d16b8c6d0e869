package server_test

import "porchlight.dev/porchlight/internal/config"

// fastPaths are the values of the setting that tests run with.
func fastPaths() []bool { return []bool{true, false} }

func setFastPath(cfg *config.Config, on bool) { cfg.FastPath = on }

func isFast(cfg *config.Config) bool { return cfg.FastPath }
