package server

import (
	"context"
	"fmt"
	"os"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// openAudit opens the audit log, and the key that signs it.
func (s *Server) openAudit() error {
	s.audit = audit.New(s.store, s.opts.Clock)
	s.audit.Log, s.audit.Retention = s.log, s.config.AuditRetention
	if s.config.AuditKeyFile == "" {
		return nil
	}
	text, err := os.ReadFile(s.config.AuditKeyFile)
	if err == nil {
		s.audit.Key, err = audit.ParseKey(text)
	}
	if err != nil {
		return fmt.Errorf("the key %s cannot be used: %w; correct audit-key-file", s.config.AuditKeyFile, err)
	}
	return nil
}

func accountsOf(dir *directory.Directory) func(context.Context, presence.AccountID, int) ([]presence.AccountID, error) {
	return func(ctx context.Context, after presence.AccountID, limit int) ([]presence.AccountID, error) {
		accounts, err := dir.Accounts(ctx, after, limit)
		ids := make([]presence.AccountID, len(accounts))
		for i := range accounts {
			ids[i] = accounts[i].ID
		}
		return ids, err
	}
}
