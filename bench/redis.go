package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// startRedis starts redis-server, which syncs every write, and the service in front of
// it.
func (c *comparison) startRedis(server string) (string, []*process, error) {
	if err := installRedis(); err != nil {
		return "", nil, err
	}
	dir := filepath.Join(c.dir, server)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return "", nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command("redis-server", "--bind", host, "--port", port, "--dir", dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "")
	store, err := launch(cmd, address, "", func() bool { return accepts(address) })
	if err != nil {
		return "", nil, err
	}
	service, err := startSelf("-redis-service", "-redis", address, "-redis-client", server)
	if err != nil {
		return "", []*process{store}, err
	}
	return service.address, []*process{service, store}, nil
}

// installRedis installs redis-server if that is possible.
func installRedis() error {
	if _, err := exec.LookPath("redis-server"); err == nil {
		return nil
	}
	cmd := exec.Command("tools/apt-install", "redis-server")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w (%w)", &errMissing{"redis-server is not installed"}, err)
	}
	return nil
}

// poolSize is the number of connections in the service's pool: enough that no update
// waits for one, because more of them then share a sync. With 20, the default of a common
// client on two processors, an update with 256 connections costs a third more.
const poolSize = 256

// serveRedis runs the service with one of its clients.
func serveRedis(address, store, client string) error {
	if client == redis {
		return serveRedisService(address, newRedisPool(store, poolSize).set)
	}
	p, err := newRedisPipeline(store)
	if err != nil {
		return err
	}
	return serveRedisService(address, p.set)
}

// serveNATS is a NATS server without JetStream, which stores nothing.
func serveNATS(address string) error {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	server, err := natsserver.NewServer(&natsserver.Options{Host: addr.IP.String(), Port: addr.Port, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	time.AfterFunc(2*time.Hour, server.Shutdown) // stop automatically
	server.Start()
	server.WaitForShutdown()
	return nil
}
