package httpapi

import (
	"strconv"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/wire"
)

// readPresence serves GET /v1/users/{user}/presence: what the caller may see.
func (a *API) readPresence(c *call) error {
	q, err := c.query(consistencyParam, atLeastParam)
	if err != nil {
		return err
	}
	if err := a.reach(c, q); err != nil {
		return err
	}
	u, err := a.targetUser(c)
	if err != nil {
		return err
	}
	view, cursor, err := a.Views.Read(c.r.Context(), u.Account, u.ID, c.p)
	if err != nil {
		return err
	}
	var tag string
	if view.State != nil {
		tag = wire.ETag(view.State.Revision)
	}
	text, err := a.Cursors.ReadCursor(c.r.Context(), cursor)
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, 256), '{')
	b = AppendPresence(b, u.ID, &view.Presence)
	b = append(append(b, `,"cursor":"`...), text...)
	return c.writeTagged(tag, append(b, `"}`...))
}

// AppendPresence appends the members of an api.Presence, less cursor and
// asked_as.
func AppendPresence(b []byte, u presence.UserID, p *presence.Presence) []byte {
	b = append(b, `"user":"`...)
	b = wire.AppendJSON(b, string(u))
	b = append(b, `","status":"`...)
	b = append(b, p.Status.String()...)
	b = append(b, `","note":"`...)
	b = wire.AppendJSON(b, p.Note)
	b = append(b, `","since":`...)
	b = at(p.Since).AppendJSON(b)
	b = append(b, `,"until":`...)
	b = at(p.Until).AppendJSON(b)
	b = append(b, `,"revision":`...)
	return strconv.AppendUint(b, uint64(p.Revision), 10)
}

// AppendNamed appends an api.Presence, less cursor, of a user who was named by ref.
func AppendNamed(b []byte, u presence.UserID, p *presence.Presence, ref string) []byte {
	b = AppendPresence(append(b, '{'), u, p)
	if ref != string(u) {
		b = append(wire.AppendJSON(append(b, `,"asked_as":"`...), ref), '"')
	}
	return append(b, '}')
}

func asPresence(u presence.UserID, p *presence.Presence) api.Presence {
	return api.Presence{
		User: string(u), Status: api.Status(p.Status.String()), Note: p.Note,
		Since: at(p.Since), Until: at(p.Until), Revision: uint64(p.Revision),
	}
}

// explain serves GET /v1/users/{user}/presence/explain, for the user and
// administrators: it shows what visibility may hide.
func (a *API) explain(c *call) error {
	q, err := c.query("at", "connected")
	if err != nil {
		return err
	}
	connected, err := Flag(q, "connected")
	if err != nil {
		return err
	}
	if q.Has("at") {
		return a.explainPast(c, q.Get("at"))
	}
	u, state, err := a.stateFor(c, auth.PresenceRead)
	if err != nil {
		return err
	}
	x := presence.Explain(state, max(a.now(), state.At))
	if connected {
		x.Next = presence.StepsWhileConnected(state, x.At)
	}
	wired := asExplanation(u.ID, state, &x)
	timeless := *wired
	timeless.At = api.Time{}
	return c.writeVersion(recordTag(state.Revision, &timeless), wired)
}

func asExplanation(u presence.UserID, state *presence.State, x *presence.Explanation) *api.Explanation {
	p := &x.Presence
	wired := &api.Explanation{
		User: string(u), At: at(x.At), Status: api.Status(p.Status.String()), Note: p.Note,
		Since: at(p.Since), Until: at(p.Until), Revision: uint64(state.Revision), Because: x.Because,
		Sessions: []api.ExplainedSession{}, Claims: []api.ExplainedClaim{}, Next: []api.Step{},
		OwnNote: asNote(x.Note),
	}
	for i := range x.Sessions {
		s := &x.Sessions[i]
		wired.Sessions = append(wired.Sessions, api.ExplainedSession{Session: asSession(u, &s.Session, x.At), Why: s.Why})
	}
	for i := range x.Claims {
		s := &x.Claims[i]
		wired.Claims = append(wired.Claims, api.ExplainedClaim{
			Claim: asClaim(&s.Claim), Row: s.Row, Live: s.Live, Counts: s.Counts, Decides: s.Decides, Why: s.Why,
		})
	}
	for _, s := range x.Next {
		wired.Next = append(wired.Next, api.Step{At: at(s.At), Status: api.Status(s.Status.String()), Note: s.Note, Why: s.Why})
	}
	return wired
}
