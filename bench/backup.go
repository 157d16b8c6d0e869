package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The load during a backup: few enough connections that the server has idle CPU time,
// so that delays are visible.
const backupConns = 32

// backup measures a backup of a server under load, its effect on the load, and
// verifying and restoring the backup.
func (r *run) backup(b *binary) error {
	large, err := r.seed(r.mostUsers())
	if err != nil {
		return err
	}
	p, err := b.serve(large.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	file := filepath.Join(r.dir, "backup")
	defer os.RemoveAll(file)
	var before, during, rates []float64
	for round := range r.rounds {
		quiet, err := (&load{address: p.address, conns: backupConns, duration: r.seconds, status: 204, request: large.put}).run()
		if err != nil {
			return err
		}
		loaded, speed, err := b.backupUnderLoad(r, large, p, file)
		if err != nil {
			return err
		}
		fmt.Printf("round %d PUT alone %8.0f req/s p99 %v, during a backup %8.0f req/s p99 %v max %v\n", round+1,
			quiet.perSecond, quiet.percentile(.99), loaded.perSecond, loaded.percentile(.99), loaded.percentile(1))
		before = append(before, ms(quiet.percentile(.99)))
		during = append(during, ms(loaded.percentile(.99)))
		rates = append(rates, speed)
	}
	report("PUT p99 with 32 connections", "-", "ms", before)
	report("PUT p99 during a backup", "-", "ms", during)
	report("online backup under load", "-", "MB/s", rates)
	return b.restored(r, file)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// command runs porchlight with --json, and returns the reported bytes and seconds.
func (b *binary) command(what string, args ...string) (bytes, seconds float64, err error) {
	out, err := exec.Command(b.path, append(args, "--json")...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return 0, 0, fmt.Errorf("%s: %w", what, err)
	}
	var result struct{ Bytes, Seconds float64 }
	if err := json.Unmarshal(out, &result); err != nil {
		return 0, 0, err
	}
	fmt.Printf("%s: %.1f s, %.0f MB, %.0f MB/s\n", what, result.Seconds, result.Bytes/1e6, result.Bytes/1e6/result.Seconds)
	return result.Bytes, result.Seconds, nil
}

// backupUnderLoad makes a backup during updates, and returns the result of the updates.
func (b *binary) backupUnderLoad(r *run, s *seeded, p *process, file string) (result, float64, error) {
	done := make(chan error, 1)
	var bytes, seconds float64
	loaded := result{}
	begun := time.Now()
	go func() {
		var err error
		bytes, seconds, err = b.command("online backup", "backup", "--data-dir", s.dir, "--force", file)
		done <- err
	}()
	for {
		// In short pieces, so that the load ends with the backup.
		part, err := (&load{address: p.address, conns: backupConns, duration: min(r.seconds, time.Second), status: 204, request: s.put}).run()
		if err != nil {
			return loaded, 0, errors.Join(err, <-done)
		}
		loaded.merge(part)
		select {
		case err := <-done:
			loaded.perSecond = float64(loaded.requests) / time.Since(begun).Seconds()
			return loaded, bytes / 1e6 / max(seconds, 1e-3), err
		default:
		}
	}
}

// restored verifies the backup, restores it, and verifies that.
func (b *binary) restored(r *run, file string) error {
	if _, _, err := b.command("verify the backup", "verify", file); err != nil {
		return err
	}
	dir := filepath.Join(r.dir, "restored")
	defer os.RemoveAll(dir)
	if _, _, err := b.command("restore", "restore", "--data-dir", dir, file); err != nil {
		return err
	}
	if _, _, err := b.command("verify the restored directory", "verify", "--data-dir", dir); err != nil {
		return err
	}
	p, err := b.serve(dir)
	if err != nil {
		return err
	}
	fmt.Printf("the restored server was ready after %v\n", p.ready.Round(time.Millisecond))
	if err := p.stop(syscall.SIGTERM); err != nil {
		return err
	}
	return compressed(file)
}

// compressed reports the size after compression, if a compressor is installed.
func compressed(file string) error {
	if _, err := exec.LookPath("zstd"); errors.Is(err, exec.ErrNotFound) {
		fmt.Println("zstd is not installed: compression is not measured")
		return nil
	}
	begun := time.Now()
	out, err := exec.Command("sh", "-c", `zstd -1 -c "$0" | wc -c`, file).Output()
	fmt.Printf("zstd -1: %s bytes in %.1f s\n", strings.TrimSpace(string(out)), time.Since(begun).Seconds())
	return err
}

// merge adds the result of another part of the same load.
func (r *result) merge(part result) {
	r.requests += part.requests
	r.latencies = append(r.latencies, part.latencies...)
	slices.Sort(r.latencies)
}
