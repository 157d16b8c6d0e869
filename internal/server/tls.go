package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"porchlight.dev/porchlight/internal/config"
)

// certificates is a certificate and its key, read again when the files change. A
// new pair that does not work leaves the old one in use.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger
	current           atomic.Pointer[tls.Certificate]

	mu   sync.Mutex // locked while the files are read
	seen [2]stamp
}

// A stamp tells one version of a file from the next. A file that was replaced by
// renaming has another inode, and thus another os.FileInfo.
type stamp struct {
	modified time.Time
	size     int64
	info     os.FileInfo
}

func (a stamp) same(b stamp) bool {
	return a.modified.Equal(b.modified) && a.size == b.size && os.SameFile(a.info, b.info)
}

func loadCertificates(certFile, keyFile string, log *slog.Logger) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, log: log}
	c.seen = c.stamps()
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and key %s cannot be used: %w; correct tls-cert-file and tls-key-file", certFile, keyFile, err)
	}
	c.current.Store(&pair)
	return c, nil
}

// configuredCertificates are those of the settings; nil: TLS is off.
func configuredCertificates(cfg *config.Config, log *slog.Logger) (*certificates, error) {
	if cfg.TLSCertFile == "" {
		return nil, nil //nolint:nilnil // the documented answer
	}
	return loadCertificates(cfg.TLSCertFile, cfg.TLSKeyFile, log)
}

// config is for a listener whose certificate may change.
func (c *certificates) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// urlOf is where a listener is reached on this machine.
func (c *certificates) urlOf(l net.Listener) string {
	scheme := "http"
	if c != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(l.Addr())
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// pollEvery is how often the files are checked.
const pollEvery = 2 * time.Second

// watch reads the files again when they have changed, until ctx ends.
func (c *certificates) watch(ctx context.Context) {
	every(ctx, pollEvery, func() {
		if c.changed() {
			c.reload()
		}
	})
}

func (c *certificates) changed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.stamps()
	return !now[0].same(c.seen[0]) || !now[1].same(c.seen[1])
}

// reload reads the files.
func (c *certificates) reload() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = c.stamps()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		c.log.Error("new certificate cannot be used; keeping the old one: correct the files",
			slog.String("cert", c.certFile), slog.String("key", c.keyFile), slog.Any("err", err))
		return
	}
	c.current.Store(&pair)
	expires := slog.Attr{}
	if pair.Leaf != nil {
		expires = slog.Time("expires", pair.Leaf.NotAfter)
	}
	c.log.Info("certificate reloaded", slog.String("cert", c.certFile), expires)
}

// stamps reads the stamps of both files; a missing file has the zero stamp.
func (c *certificates) stamps() [2]stamp {
	var found [2]stamp
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			found[i] = stamp{info.ModTime(), info.Size(), info}
		}
	}
	return found
}
