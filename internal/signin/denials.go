package signin

import (
	"context"
	"log/slog"
	"sync"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/presence"
)

// maxDenials bounds the kinds of refused attempts that wait to be recorded.
const maxDenials = 1000

// A denialKey is what refused attempts have in common that are recorded together.
type denialKey struct {
	account         presence.AccountID
	target, address string
	reason          string
}

// denials records refused attempts without letting anybody wait. Attempts of one kind that
// come while others are written become one event.
type denials struct {
	audit audit.Recorder
	log   *slog.Logger

	mu      sync.Mutex
	waiting map[denialKey]*audit.Event // guarded by mu
	writing bool                       // guarded by mu
}

func newDenials(to audit.Recorder, log *slog.Logger) *denials {
	return &denials{audit: to, log: log, waiting: make(map[denialKey]*audit.Event)}
}

func (d *denials) add(ctx context.Context, account presence.AccountID, e *audit.Event) {
	key := denialKey{account, e.Target, e.By.Address.String(), e.Reason}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.waiting[key]; known != nil {
		known.Count++
		return
	}
	if len(d.waiting) >= maxDenials {
		return // there are enough to see that the server is under attack
	}
	e.Count = 1
	d.waiting[key] = e
	if !d.writing {
		d.writing = true
		go d.write(context.WithoutCancel(ctx))
	}
}

// write records what waits until nothing does.
func (d *denials) write(ctx context.Context) {
	for {
		d.mu.Lock()
		batch := d.waiting
		d.waiting = make(map[denialKey]*audit.Event)
		d.writing = len(batch) > 0
		d.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for key, e := range batch {
			if err := d.audit.Record(ctx, key.account, e); err != nil {
				d.log.WarnContext(ctx, "a refused sign-in could not be recorded in the audit log", slog.Any("err", err))
			}
		}
	}
}
