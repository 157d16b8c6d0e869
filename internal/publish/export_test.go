package publish

import (
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// Remembered is the soft state of u's sessions: a leak shows nowhere else.
func (p *Publisher) Remembered(u store.User) []presence.SoftState { return p.soft.of(u) }
