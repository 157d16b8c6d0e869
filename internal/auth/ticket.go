package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// TicketLasts is how long a ticket can be used.
const TicketLasts = 30 * time.Second

// A ticketValue is a document of the system whose key is the digest of a ticket.
// It says for which token the ticket stands, by that token's digest.
type ticketValue struct {
	document.Format
	Token   string    `json:"token_sha256"`
	Expires time.Time `json:"expires"`
	Used    bool      `json:"used,omitempty"`
}

// Why a ticket is refused. That one was used is known as long as it could have been.
var (
	ErrTicket     = errors.New("this ticket is unknown or older than 30 seconds")
	ErrTicketUsed = errors.New("this ticket was used already")
)

func ticketKey(digest string) store.Key { return store.Key{Collection: "ticket", Key: digest} }

// NewTicket makes a secret that stands once for p's token, and can be used until
// expires: it may be put into a URL, where a token may not.
func (a *Authority) NewTicket(ctx context.Context, p *Principal) (ticket string, expires time.Time, err error) {
	ticket = newSecret()
	expires = a.now().Add(TicketLasts)
	doc := document.New(ticketKey(digestOf(ticket).hex()), "", ticketValue{Format: document.Current(), Token: p.digest.hex(), Expires: expires})
	doc.Until = expires
	if err := a.docs.Write(ctx, system, doc); err != nil {
		return "", time.Time{}, fmt.Errorf("make a ticket: %w", err)
	}
	return ticket, expires, nil
}

// Redeem takes a ticket and finds the principal that it stands for. The first one
// who comes gets it.
func (a *Authority) Redeem(ctx context.Context, ticket string) (*Principal, error) {
	if len(ticket) != secretLen {
		return nil, ErrTicket
	}
	docs, err := a.docs.Load(ctx, system, ticketKey(digestOf(ticket).hex()))
	if err != nil {
		return nil, fmt.Errorf("read ticket: %w", err)
	}
	if len(docs) == 0 {
		return nil, ErrTicket
	}
	var v ticketValue
	if err := document.Decode(&docs[0], &v); err != nil {
		return nil, err
	}
	switch {
	case !a.clock().Before(v.Expires):
		return nil, ErrTicket
	case v.Used:
		return nil, ErrTicketUsed
	}
	v.Used = true
	used := document.New(docs[0].Key, docs[0].Version, v)
	used.Until = v.Expires
	switch err := a.docs.Write(ctx, system, used); {
	case errors.Is(err, store.ErrConflict):
		return nil, ErrTicketUsed // at the same time
	case err != nil:
		return nil, fmt.Errorf("take ticket: %w", err)
	}
	d := digestOfHex(v.Token)
	return a.authenticate(ctx, &d)
}
