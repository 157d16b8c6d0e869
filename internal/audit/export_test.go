package audit

import (
	"context"

	"porchlight.dev/porchlight/internal/presence"
)

// Tend does what Run does for an account at intervals.
func (l *Log) Tend(ctx context.Context, account presence.AccountID) error {
	return l.tend(ctx, account)
}

// MaxLate is how many events of Later may wait.
const MaxLate = maxLate
