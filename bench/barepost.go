package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// barePosts runs postBare in a process of its own against a new sink, and returns the
// requests per second.
func barePosts() (float64, error) {
	to, err := newSink()
	if err != nil {
		return 0, err
	}
	defer to.close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	out, err := exec.Command(self, "-bare-posts", to.address).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	var rate float64
	_, err = fmt.Sscan(string(out), &rate)
	return rate, err
}

// postBare is the baseline of webhooks: as many requests as the backlog has events, of
// the same size, over eight kept connections, without signatures. It prints the
// requests per second.
func postBare(address string) error {
	const conns = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns}}
	body := strings.Repeat("x", 500)
	failed := make(chan error, conns)
	var group sync.WaitGroup
	begun := time.Now()
	for range conns {
		group.Go(func() {
			for range webhookBacklog / conns {
				response, err := client.Post("http://"+address+"/", "application/json", strings.NewReader(body))
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		_, err := fmt.Println(webhookBacklog / time.Since(begun).Seconds())
		return err
	}
}
