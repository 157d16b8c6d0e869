package cli

import (
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/config"
	"porchlight.dev/porchlight/internal/server"
)

// migrateCommand is "porchlight migrate".
type migrateCommand struct {
	From       string `name:"from" required:"" placeholder:"DIR|URL" help:"The data directory or store (nats://HOST:4222/NAME) to copy. It is not changed."`
	To         string `name:"to" required:"" placeholder:"DIR|URL" help:"The store or data directory to create. A data directory must be missing or empty."`
	VerifyOnly bool   `name:"verify-only" help:"Copy nothing; compare a store with an existing copy of it, before a server uses the copy."`
	Quiet      bool   `name:"quiet" short:"q" help:"Show no progress."`
	storeAccess
	LogRetention time.Duration `name:"log-retention" default:"30d" placeholder:"TIME" help:"How long the store on NATS keeps entries of the commit log. Start the server with the same value. Also PORCHLIGHT_LOG_RETENTION."`
}

func (*migrateCommand) Help() string {
	return `Copies a store that no server uses from a data directory to NATS, or from NATS to a data directory. Stop the server first. Everything keeps its position and version: cursors, ETags, idempotency keys, webhooks, the history and the audit log continue where they were.

At the end, the command reads both stores in full and compares them. A server can use the copy only if both have the same content. If a migration is interrupted, run it again: it starts over, and the source is unchanged.

Never start a server on the source again once a server has used the copy: both stores would accept each other's cursors, and clients would miss changes. To return, migrate back to a new store.

Example:

    porchlight migrate --from /var/lib/porchlight --to nats://nats1:4222,nats2:4222,nats3:4222
    porchlight migrate --from nats://nats1:4222 --to /var/lib/porchlight`
}

func (c *migrateCommand) Run(s *shell) error {
	m, err := c.migration(s)
	if err != nil {
		return err
	}
	copying, comparing := s.meter("copy", c.Quiet), s.meter("compare", c.Quiet)
	m.Copying, m.Comparing = copying.update, comparing.update
	report, err := m.Run(s.ctx)
	copying.end()
	comparing.end()
	if errors.Is(err, server.ErrDiffer) && c.VerifyOnly {
		return fmt.Errorf("%w; this is normal after a server has used one of them", err)
	}
	if err != nil {
		return err
	}
	same := items(report.Records.Count, report.Entries.Count, report.Documents.Count)
	if c.VerifyOnly {
		return s.print(report, "%s and %s have the same content: %s. The comparison took %.1f s.\n", report.From, report.To, same, time.Duration(report.Seconds).Seconds())
	}
	return s.print(report, "Copied %s in %.1f s. The copy was compared with the source: both have the same content.\nStart the server:\n\n  %s serve %s\n\nDo not start a server on %s again.\n",
		same, time.Duration(report.Seconds).Seconds(), callOf(s.program), server.LocationFlag(m.To), report.From)
}

// migration reads the settings of the two stores.
func (c *migrateCommand) migration(s *shell) (server.Migration, error) {
	if server.IsNATS(c.From) == server.IsNATS(c.To) {
		return server.Migration{}, &usageError{"one of --from and --to must be the URL of a store on NATS, and the other one a data directory; to move a data directory, stop the server and move the files"}
	}
	m := server.Migration{From: config.Default(), To: config.Default(), Verify: c.VerifyOnly}
	dir, onNATS, url, named := &m.From, &m.To, c.To, "--to"
	dir.DataDir = c.From
	if server.IsNATS(c.From) {
		m.From.DataDir = ""
		dir, onNATS, url, named = &m.To, &m.From, c.From, "--from"
		dir.DataDir = c.To
	}
	var err error
	*onNATS, err = config.Load(config.Sources{
		Base:   config.Default(),
		Getenv: only(s.getenv, append(placeVariables()[1:], "PORCHLIGHT_DURABILITY", "PORCHLIGHT_LOG_RETENTION")...),
		Flags: config.Config{
			Store: url, LogRetention: c.LogRetention,
			StoreCredentials: c.StoreCredentials, StoreSystemCredentials: c.StoreSystemCredentials, StoreReplicas: c.StoreReplicas,
		},
		Given: func(flag string) bool { return flag == "store" || s.given(flag) },
	})
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for i := range problems {
			if problems[i].Where == "--store" {
				problems[i].Where = named
			}
		}
	}
	return m, err
}
