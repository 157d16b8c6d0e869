package zoomapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/fastpath"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/telemetry"
	"porchlight.dev/porchlight/internal/wire"
)

// fast answers the two hot routes of an API as its handlers do, on the fast path. A
// request that it would refuse before it is counted is declined: its handler refuses it.
type fast struct{ api *API }

// MountFast adds the hot routes.
func (a *API) MountFast(s *fastpath.Server) {
	f := fast{a}
	s.Handle(http.MethodPut, presenceStatus, f, f.putStatus)
	s.Handle(http.MethodGet, presenceStatus, f, f.getStatus)
}

// Announce implements fastpath.Dialect.
func (fast) Announce(x *fastpath.Exchange) {
	x.Scratch = append(append(x.Scratch[:0], trackingPrefix...), x.RequestID()...)
	x.SetBytes(trackingHeader, x.Scratch)
}

// Fail implements fastpath.Dialect.
func (fast) Fail(x *fastpath.Exchange, err error) {
	reply := answerTo(err)
	x.SetCode(strconv.Itoa(reply.code))
	reply.addTo(x)
	x.Scratch = reply.appendTo(x.Scratch[:0], x.Method(), string(x.Segment()))
	x.Reply(reply.status, x.Scratch)
}

// user is whom the path names, if the principal has a scope for some user.
func (f fast) user(x *fastpath.Exchange, g *grant) (id presence.UserID, ok bool) {
	if !g.allows(x.Principal) {
		return "", false
	}
	id, err := f.api.userOf(context.Background(), x.Principal, string(x.Segment()))
	return id, err == nil
}

func (f fast) getStatus(x *fastpath.Exchange) {
	p := x.Principal
	id, ok := f.user(x, &mayRead)
	if !ok {
		x.Decline()
		return
	}
	if err := f.api.Limits.takeRequest(x, p, mayRead.label); err != nil {
		x.Fail(err)
		return
	}
	view, _, err := f.api.Views.Read(context.Background(), p.Account, id, p)
	if err != nil {
		x.Fail(err)
		return
	}
	x.Set("Content-Type", jsonType)
	if view.State != nil {
		setETag(x, view.State.Revision)
	}
	x.Scratch = f.api.appendStatus(x.Scratch[:0], &view, id == p.User)
	x.Reply(http.StatusOK, x.Scratch)
}

func setETag(x *fastpath.Exchange, revision presence.Revision) {
	x.Scratch = wire.AppendETag(x.Scratch[:0], revision)
	x.SetBytes("Etag", x.Scratch)
}

// An updating is an update whose answer comes later. It belongs to an exchange, which
// uses it again.
type updating struct {
	api   *API
	x     *fastpath.Exchange
	begun *publish.Begun
	user  store.User
	claim presence.SetClaim
}

func (f fast) updating(x *fastpath.Exchange) *updating {
	u, ok := x.Own.(*updating)
	if !ok {
		u = &updating{api: f.api, x: x}
		u.begun = f.api.Publisher.NewBegun(u.answer)
		x.Own = u
	}
	return u
}

func (f fast) putStatus(x *fastpath.Exchange) {
	p := x.Principal
	id, ok := f.user(x, &mayUpdate)
	if !ok || !p.MayFor(auth.ClaimWrite, id) {
		x.Decline()
		return
	}
	asked, err := parseJSON(x.Body())
	if err != nil {
		x.Decline()
		return
	}
	if err := f.api.Limits.takeRequest(x, p, mayUpdate.label); err != nil {
		x.Fail(err)
		return
	}
	u := f.updating(x)
	u.user, u.claim = store.User{Account: p.Account, ID: id}, claimOf(p, asked, presence.Request{})
	u.begun.Trace(x.Span())
	x.Later()
	u.begun.Begin(u.user, p.Actor(), u.claim)
}

// answer answers the request.
func (u *updating) answer(result publish.Result, err error) {
	x := u.x
	defer x.Recover()
	switch {
	case errors.Is(err, publish.ErrNotOnRecord):
		go u.wait()
	case err != nil:
		x.Fail(withRemedy(err))
	default:
		setETag(x, result.Revision())
		x.Reply(http.StatusNoContent, nil)
	}
}

// wait makes the update of a user without a record, which has to wait for the directory.
func (u *updating) wait() {
	defer u.x.Recover()
	ctx := telemetry.With(context.Background(), u.x.Span())
	u.answer(u.api.Publisher.Publish(ctx, u.user, u.x.Principal.Actor(), u.claim))
}
