package server

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	module := func(version string) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}}
	}
	for _, c := range []struct {
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		{"0.1.0", module("v9.9.9"), "0.1.0"},
		{"", module("v0.1.0"), "0.1.0"},
		{"", module("(devel)"), "devel"},
		{"", module(""), "devel"},
		{"", nil, "devel"},
	} {
		if got := versionOf(c.linked, c.info); got != c.want {
			t.Errorf("linked %q, %+v: %q, want %q", c.linked, c.info, got, c.want)
		}
	}
}
