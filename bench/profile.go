package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// profile loads the large store with GET and then with PUT, and saves a CPU profile of
// the server for each, to explain the results of http.
func (r *run) profile(b *binary) error {
	large, err := r.seed(r.mostUsers())
	if err != nil {
		return err
	}
	p, err := b.serve(large.dir)
	if err != nil {
		return err
	}
	defer p.stop(syscall.SIGTERM)
	for _, kind := range []struct {
		name    string
		status  int
		request func([]byte, *rand.Rand) []byte
	}{{"get", http.StatusOK, large.get}, {"put", http.StatusNoContent, large.put}} {
		path := filepath.Join(r.dir, kind.name+".prof")
		done := make(chan error, 1)
		go func() { done <- p.profileTo(path, r.seconds) }()
		if _, err := r.sample(p, load{address: p.address, conns: r.mostConns(), status: kind.status, request: kind.request}); err != nil {
			return err
		}
		if err := <-done; err != nil {
			return err
		}
		fmt.Printf("go tool pprof %s %s\n", b.path, path)
	}
	return nil
}

// profileTo writes a CPU profile of the process for a duration.
func (p *process) profileTo(path string, duration time.Duration) error {
	return p.save(fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(duration.Seconds())), path)
}

// save writes the response of the admin listener to a file, or discards it.
func (p *process) save(what, path string) error {
	response, err := http.Get("http://" + p.admin + what)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", what, response.Status)
	}
	if path == "" {
		_, err := io.Copy(io.Discard, response.Body)
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, response.Body); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}
