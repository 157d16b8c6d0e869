package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"porchlight.dev/porchlight/internal/backupjob"
	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/natsstore"
	"porchlight.dev/porchlight/internal/store/pebblestore"
)

// storeDir is where the embedded store is, beside what else a data directory may
// hold.
func storeDir(dataDir string) string { return filepath.Join(dataDir, "store") }

// ErrNotInitialised: the store has no account yet.
var ErrNotInitialised = errors.New("not initialised")

func notInitialised(cfg *config.Config) error {
	return fmt.Errorf("%s is %w: run \"porchlight init %s\", or correct the setting", cfg.StoreDescription(), ErrNotInitialised, LocationFlag(*cfg))
}

// LocationFlag is the command-line flag that names the store.
func LocationFlag(cfg config.Config) string {
	if cfg.Store != "" {
		return "--store " + cfg.Store
	}
	return "--data-dir " + cfg.DataDir
}

// An openMode is what a store is opened for.
type openMode int

const (
	openToCreate openMode = iota // creates the store if there is none
	openToServe
	openExclusively // for a command, while no node serves the store
)

// openEngine opens the engine that the settings name. Except with openToCreate, it
// creates no store, and returns ErrNotInitialised if there is none. files is how many descriptors
// the engine may use; zero: its default.
func openEngine(ctx context.Context, cfg *config.Config, o *Options, mode openMode, files int) (store.Store, error) {
	mustExist := mode != openToCreate
	if cfg.Store != "" {
		no := natsOptions(cfg, o)
		no.MustExist = mustExist
		no.Exclusive, no.Serving = mode == openExclusively, mode == openToServe
		return openNATS(ctx, cfg, no)
	}
	if err := checkRestored(cfg.DataDir); err != nil {
		return nil, err
	}
	options := pebbleOptions(cfg, o)
	options.MustExist, options.OpenFiles = mustExist, files
	//nolint:contextcheck // a store outlives the call that opens it
	opened, err := openUnlocked(ctx, cfg.DataDir, func() (*pebblestore.Store, error) {
		return pebblestore.Open(storeDir(cfg.DataDir), options)
	})
	if errors.Is(err, pebblestore.ErrMissing) {
		return nil, notInitialised(cfg)
	}
	if err != nil {
		return nil, err
	}
	return opened, nil
}

func pebbleOptions(cfg *config.Config, o *Options) pebblestore.Options {
	po := pebblestore.Options{
		Clock:         o.Clock,
		Retention:     cfg.LogRetention,
		MinFreeBytes:  int64(cfg.LowDisk),
		Logger:        o.Log,
		CacheRecords:  cfg.CacheRecords,
		CacheBytes:    int64(cfg.CacheSize),
		MemTableBytes: int64(cfg.WriteBufferSize),
	}
	if cfg.Durability == "os" {
		po.Durability = pebblestore.OS
	}
	if cfg.LowDisk == 0 {
		po.MinFreeBytes = -1
	}
	return po
}

func natsOptions(cfg *config.Config, o *Options) natsstore.Options {
	return natsstore.Options{
		Clock:     o.Clock,
		Logger:    o.Log,
		Retention: cfg.LogRetention,
		Replicas:  cfg.StoreReplicas,
		Relaxed:   cfg.Durability == "os",
		Timeout:   o.StoreTimeout,
	}
}

func openNATS(ctx context.Context, cfg *config.Config, no natsstore.Options) (store.Store, error) {
	at, err := reach(cfg, &no)
	if err != nil {
		return nil, err
	}
	opened, err := natsstore.Open(ctx, at, no)
	switch {
	case errors.Is(err, natsstore.ErrMissing):
		return nil, notInitialised(cfg)
	case err != nil:
		return nil, explainNATS(err)
	}
	return opened, nil
}

// Renew gives a store on NATS a new epoch, which it needs once after the tools of
// NATS brought it back from a copy.
func Renew(ctx context.Context, cfg config.Config) error {
	cfg = cfg.Filled()
	if problems := cfg.Check(); len(problems) > 0 {
		return problems
	}
	opts := Options{}.withDefaults()
	no := natsOptions(&cfg, &opts)
	no.MustExist, no.NewEpoch = true, true
	renewed, err := openNATS(ctx, &cfg, no)
	if err != nil {
		return err
	}
	return renewed.Close()
}

// reach sets the prefix in the options, and the credentials of the NATS user, and the address
// and credentials of the user of the system account. It returns the servers' address for the
// NATS user.
func reach(cfg *config.Config, no *natsstore.Options) (at string, err error) {
	u, err := url.Parse(cfg.Store)
	if err != nil {
		return "", err
	}
	no.Prefix = strings.TrimPrefix(u.Path, "/")
	if at, no.Credentials, err = natsURL(u, "store-credentials", cfg.StoreCredentials); err != nil {
		return "", err
	}
	if cfg.StoreSystemCredentials != "" {
		no.SystemURL, no.SystemCredentials, err = natsURL(u, "store-system-credentials", cfg.StoreSystemCredentials)
	}
	return at, err
}

// natsURL is u for the NATS client, with the user of file, or else the file as
// credentials that the client reads.
func natsURL(u *url.URL, setting, file string) (at, creds string, err error) {
	var user *url.Userinfo
	if file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", "", fmt.Errorf("%s %s cannot be read: %w", setting, file, err)
		}
		line := strings.TrimSpace(string(content))
		switch name, password, found := strings.Cut(line, ":"); {
		case strings.Contains(line, "BEGIN NATS USER JWT"):
			creds = file
		case line == "" || strings.Contains(line, "\n"):
			return "", "", fmt.Errorf("%s %s holds neither a NATS credentials file nor one line with USER:PASSWORD or a token", setting, file)
		case found:
			user = url.UserPassword(name, password)
		default:
			user = url.User(line)
		}
	}
	var all []string
	for host := range strings.SplitSeq(u.Host, ",") { // each needs its own user
		one := url.URL{Scheme: u.Scheme, User: user, Host: host}
		all = append(all, one.String())
	}
	return strings.Join(all, ","), creds, nil
}

// openStore opens the store and checks that it has an account.
func (s *Server) openStore() error {
	ctx := context.Background()
	s.store = s.opts.Store
	if s.store == nil {
		opened, err := openEngine(ctx, &s.config, &s.opts, openToServe, s.descriptors.store)
		if err != nil {
			return err
		}
		s.store = opened
		if source, ok := opened.(backupSource); ok {
			dropRestored(s.config.DataDir, s.log)
			s.source, s.backups = source, backupjob.NewSlot(s.opts.Clock)
			s.openControl(source)
		}
	}
	ready, err := initialised(ctx, s.store, s.opts.Clock)
	if err == nil && !ready {
		err = notInitialised(&s.config)
	}
	return err
}
