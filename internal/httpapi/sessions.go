package httpapi

import (
	"net/http"
	"slices"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
)

func (a *API) signIn(c *call, body *api.SignIn) error {
	lease, err := leaseOf(body.LeaseSeconds)
	if err != nil {
		return err
	}
	event := presence.SignIn{
		Session: newSessionID(), Activity: Activity(body.Active),
		Client: presence.ClientType(body.ClientType), Version: body.ClientVersion, Lease: lease,
	}
	event.App, event.Via = c.p.Origin()
	if err := presence.Check(event); err != nil {
		return err
	}
	if event.Request, err = c.conditions(body); err != nil {
		return err
	}
	event.Result = string(event.Session)
	result, err := a.publish(c, auth.SessionWrite, event)
	if err != nil {
		return err
	}
	session := a.signInResult(&result, result.Record.User.ID, event.Session, body)
	header(c.w, "Location", "/v1/sessions/"+session.ID)
	header(c.w, "Etag", recordTag(result.Revision(), &session))
	return c.writeBody(http.StatusCreated, session)
}

// signInResult is the session of a sign-in. For a repeated request it is the session
// of the first one, which may have ended since.
func (a *API) signInResult(result *publish.Result, u presence.UserID, id presence.SessionID, asked *api.SignIn) api.Session {
	if result.Answer != nil {
		id = presence.SessionID(result.Answer.Result)
	}
	now := a.now()
	if session, ok := sessionOf(result.Record.State, id); ok {
		return asSession(u, session, now)
	}
	lease := presence.DefaultLease
	if asked.LeaseSeconds != nil {
		lease = time.Duration(*asked.LeaseSeconds) * time.Second
	}
	began := now
	if result.Answer != nil {
		began = result.Answer.At
	}
	return asSession(u, &presence.Session{
		ID: id, Client: presence.ClientType(asked.ClientType), Version: asked.ClientVersion,
		Since: began, IdleAt: began, EndsAt: began.Add(lease), Lease: lease,
	}, now)
}

// leaseOf checks the limits of a lease; zero when none is requested.
func leaseOf(asked *int) (time.Duration, error) {
	const least, most = int(presence.MinLease / time.Second), int(presence.MaxLease / time.Second)
	switch {
	case asked == nil:
		return 0, nil
	case *asked < least || *asked > most:
		return 0, &presence.FieldError{Field: "lease_seconds", Reason: "must be between 30 and 3600"}
	default:
		return time.Duration(*asked) * time.Second, nil
	}
}

func (a *API) listSessions(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	var after presence.SessionID
	if pg.After != "" {
		if _, after, err = parseSessionRef(pg.After); err != nil {
			return errPageCursor
		}
	}
	u, state, err := a.stateFor(c, auth.SessionRead)
	if err != nil {
		return err
	}
	now := a.now()
	list := api.Sessions{Sessions: []api.Session{}}
	for i := range state.Sessions {
		s := &state.Sessions[i]
		if !s.Live(now) || s.ID <= after {
			continue
		}
		if len(list.Sessions) == pg.Limit {
			list.Next = list.Sessions[pg.Limit-1].ID
			break
		}
		list.Sessions = append(list.Sessions, asSession(u.ID, s, now))
	}
	return c.writeVersion(recordTag(state.Revision, &list), &list)
}

func (a *API) readSession(c *call) error {
	u, id, err := sessionFor(c, auth.SessionRead)
	if err != nil {
		return err
	}
	state, err := a.state(c, u)
	if err != nil {
		return asNoSession(err)
	}
	session, ok := sessionOf(state, id)
	if !ok || !session.Live(a.now()) {
		return presence.ErrUnknownSession
	}
	wired := asSession(u.ID, session, a.now())
	return c.writeVersion(recordTag(state.Revision, &wired), &wired)
}

func (a *API) refresh(c *call, body *api.SessionUpdate) error {
	lease, err := leaseOf(body.LeaseSeconds)
	if err != nil {
		return err
	}
	request, err := c.conditions(body, c.r.PathValue("session"))
	if err != nil {
		return err
	}
	u, id, err := sessionFor(c, auth.SessionWrite)
	if err != nil {
		return err
	}
	began := a.now()
	event := presence.Refresh{Request: request, Session: id, Activity: Activity(body.Active), Lease: lease}
	result, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), event)
	if err != nil {
		return asNoSession(err)
	}
	session, ok := sessionOf(result.Record.State, id)
	if !ok {
		return presence.ErrUnknownSession // a repeat, and the session has ended since
	}
	if result.Answer == nil {
		session = a.withRefresh(session, &event, began)
	}
	a.setWriteHeaders(c, &result)
	wired := asSession(u.ID, session, a.now())
	header(c.w, "Etag", recordTag(result.Revision(), &wired))
	return c.writeBody(http.StatusOK, wired)
}

// withRefresh is a session as a refresh at now acknowledges it. The record may be behind,
// because the refresh is in memory only, or ahead.
func (a *API) withRefresh(s *presence.Session, e *presence.Refresh, now presence.Instant) *presence.Session {
	next := presence.Acknowledged(*s, *e, a.Publisher.Policy(), now)
	return &next
}

// Activity is the activity that a client reports; nil reports none.
func Activity(active *bool) presence.Activity {
	switch {
	case active == nil:
		return presence.ActivityUnspecified
	case *active:
		return presence.ActivityActive
	default:
		return presence.ActivityIdle
	}
}

func (a *API) signOut(c *call) error {
	request, err := c.conditions(nil, c.r.PathValue("session"))
	if err != nil {
		return err
	}
	u, id, err := sessionFor(c, auth.SessionWrite)
	if err != nil {
		return err
	}
	result, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), presence.SignOut{Request: request, Session: id})
	if err != nil {
		return asNoSession(err)
	}
	a.setWriteHeaders(c, &result)
	return c.noContent()
}

// sessionFor is the session of the path, if the caller has scope for its user. If
// not, the error is the same as for a session that does not exist.
func sessionFor(c *call, scope auth.Scope) (store.User, presence.SessionID, error) {
	user, id, err := parseSessionRef(c.r.PathValue("session"))
	if err == nil && !c.p.MayFor(scope, user) {
		err = presence.ErrUnknownSession
	}
	return store.User{Account: c.p.Account, ID: user}, id, err
}

func sessionOf(state *presence.State, id presence.SessionID) (*presence.Session, bool) {
	if state == nil {
		return nil, false
	}
	i := slices.IndexFunc(state.Sessions, func(s presence.Session) bool { return s.ID == id })
	if i < 0 {
		return nil, false
	}
	return &state.Sessions[i], true
}

func asSession(u presence.UserID, s *presence.Session, now presence.Instant) api.Session {
	return api.Session{
		ID: SessionRef(u, s.ID), User: string(u), App: string(s.App),
		ClientType: string(s.Client), ClientVersion: s.Version,
		Since: at(s.Since), IdleAt: at(s.IdleAt), EndsAt: at(s.EndsAt),
		Active:       s.ActiveAt(now),
		LeaseSeconds: seconds(s.Lease),
	}
}

func (a *API) now() presence.Instant { return presence.InstantOf(a.Clock()) }
