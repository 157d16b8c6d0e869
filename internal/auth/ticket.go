package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/store"
)

// TicketLasts is how long a ticket is valid.
const TicketLasts = 30 * time.Second

// A ticketValue is a document of the system whose key is the digest of a ticket. It has
// the digest of the token that the ticket replaces.
type ticketValue struct {
	document.Format
	Token   string    `json:"token_sha256"`
	Expires time.Time `json:"expires"`
	Used    bool      `json:"used,omitempty"`
}

// Why a ticket is refused. ErrTicketUsed is known for as long as the ticket would be valid.
var (
	ErrTicket     = errors.New("this ticket is unknown or older than 30 seconds")
	ErrTicketUsed = errors.New("this ticket was used already")
)

func ticketKey(digest string) store.Key { return store.Key{Collection: "ticket", Key: digest} }

// NewTicket makes a secret that can replace p's token once, until expires. It may be part
// of a URL, unlike a token.
func (a *Authority) NewTicket(ctx context.Context, p *Principal) (ticket string, expires time.Time, err error) {
	ticket = newSecret()
	expires = a.now().Add(TicketLasts)
	doc := document.New(ticketKey(digestOf(ticket).hex()), "", ticketValue{Format: document.Current(), Token: p.digest.hex(), Expires: expires})
	doc.Until = expires
	if err := a.docs.Write(ctx, system, doc); err != nil {
		return "", time.Time{}, fmt.Errorf("make a ticket: %w", err)
	}
	a.announceIssued()
	return ticket, expires, nil
}

// Redeem uses a ticket up and returns its principal. Of concurrent calls one succeeds.
func (a *Authority) Redeem(ctx context.Context, ticket string) (*Principal, error) {
	if len(ticket) != secretLen {
		return nil, ErrTicket
	}
	doc, err := a.find(ctx, ticketKey(digestOf(ticket).hex()), ErrTicket)
	if err != nil {
		return nil, err
	}
	var v ticketValue
	if err := document.Decode(doc, &v); err != nil {
		return nil, err
	}
	switch {
	case !a.clock().Before(v.Expires):
		return nil, ErrTicket
	case v.Used:
		return nil, ErrTicketUsed
	}
	v.Used = true
	used := document.New(doc.Key, doc.Version, v)
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
