package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build compiles the command for a platform: static, without symbols, and independent of
// the directory and of the machine.
func (r *release) build(ctx context.Context, p platform, to string) error {
	to, err := filepath.Abs(to)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X porchlight.dev/porchlight/internal/server.version="+r.version, "-o", to, "./cmd/porchlight")
	cmd.Dir = r.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS="+p.os, "GOARCH="+p.arch, "GOAMD64=v1", "GOARM64=v8.0")
	cmd.Env = append(cmd.Env, r.env...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build for %s: %w\n%s", p, err, output)
	}
	return nil
}

func suffix(p platform) string {
	if p.os == "windows" {
		return ".exe"
	}
	return ""
}
