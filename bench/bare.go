package main

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

// bareGET is a constant body of the length of a presence in Zoom's format.
const bareGET = `{"status":"Available"}`

// serveBare is the baseline: net/http, json.Decoder, 204, no middleware; and a
// constant body.
func serveBare(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v2/users/{userId}/presence_status", func(w http.ResponseWriter, r *http.Request) {
		if _, err := decodeBare(r); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /v2/users/{userId}/presence_status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(bareGET)))
		_, _ = w.Write([]byte(bareGET)) // the load generator detects a short body
	})
	return serveUntilEnd(address, mux)
}

// serveUntilEnd serves until the process is ended, two hours at most.
func serveUntilEnd(address string, handler http.Handler) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	time.AfterFunc(2*time.Hour, func() { _ = server.Close() })
	return server.Serve(listener)
}
