package httpapi

import (
	"net/http"
	"strings"
	"time"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/wire"
)

func (a *API) setClaim(c *call, body *api.SetClaim) error {
	id := presence.ClaimID(c.r.PathValue("claim"))
	event, err := ClaimEvent(id, body)
	if err != nil {
		return err
	}
	if event.Request, err = c.conditions(body, string(id)); err != nil {
		return err
	}
	event.App, event.Via = c.p.Origin()
	result, err := a.publish(c, auth.ClaimWrite, event)
	if err != nil {
		return err
	}
	return c.writeBody(http.StatusOK, claimResult(&result.Record, id))
}

func ClaimEvent(id presence.ClaimID, body *api.SetClaim) (presence.SetClaim, error) {
	event := presence.SetClaim{
		ID: id, Source: presence.Source(body.Source), Note: body.Note,
		Since: presence.InstantOf(body.Since.Time), Until: presence.InstantOf(body.Until.Time),
	}
	if body.Status == "" {
		return event, Required("status")
	}
	status, ok := presence.ParseStatus(string(body.Status))
	if !ok {
		return event, &presence.FieldError{Field: "status", Reason: "must be one of " + statusWords}
	}
	event.Status = status
	const most = int64(presence.MaxClaimLasts / time.Second)
	switch {
	case body.DurationSeconds == nil:
	case *body.DurationSeconds < 1 || *body.DurationSeconds > most:
		return event, &presence.FieldError{Field: "duration_seconds", Reason: "must be between 1 and 31622400 (366 days)"}
	default:
		event.Lasts = time.Duration(*body.DurationSeconds) * time.Second
	}
	return event, presence.Check(event)
}

// statusWords are those that can be claimed.
var statusWords = func() string {
	var words []string
	for _, s := range presence.Statuses() {
		if s != presence.Offline {
			words = append(words, s.String())
		}
	}
	return strings.Join(words, ", ")
}()

// claimResult explains the effect of a claim on the presence.
func claimResult(record *store.Record, id presence.ClaimID) *api.ClaimResult {
	why := presence.Explain(record.State, record.State.At)
	result := &api.ClaimResult{Why: why.Because, Presence: asPresence(record.User.ID, &record.Shown)}
	for i := range why.Claims {
		if why.Claims[i].ID == id {
			claim := asClaim(&why.Claims[i].Claim)
			result.Claim, result.Why = &claim, why.Claims[i].Why
		}
	}
	return result
}

func (a *API) endClaim(c *call) error {
	id := c.r.PathValue("claim")
	request, err := c.conditions(nil, id)
	if err != nil {
		return err
	}
	_, err = a.publish(c, auth.ClaimWrite, presence.EndClaim{Request: request, ID: presence.ClaimID(id)})
	return c.finish(err)
}

// publish publishes an event about the user of the path, if the caller has scope for
// that user, and sets the headers of the response.
func (a *API) publish(c *call, scope auth.Scope, event presence.Event) (publish.Result, error) {
	u, err := a.userFor(c, scope)
	if err != nil {
		return publish.Result{}, err
	}
	result, err := a.Publisher.Publish(c.r.Context(), u, c.p.Actor(), event)
	if err == nil {
		a.setWriteHeaders(c, &result)
	}
	return result, err
}

func (a *API) listClaims(c *call) error {
	pg, err := c.page()
	if err != nil {
		return err
	}
	_, state, err := a.stateFor(c, auth.ClaimRead)
	if err != nil {
		return err
	}
	rest := itemsAbove(state.Claims, presence.ClaimID(pg.After), func(x *presence.Claim) presence.ClaimID { return x.ID })
	var list api.Claims
	list.Claims, list.Next = Fill(pg, rest, asClaim, func(x *api.Claim) string { return x.ID })
	return c.writeVersion(wire.ETag(state.Revision), &list)
}

func (a *API) setNote(c *call, body *api.SetNote) error {
	if body.Text == "" {
		return &presence.FieldError{Field: "text", Reason: "is required; DELETE removes the note"}
	}
	return a.writeNote(c, body)
}

// removeNote serves DELETE /v1/users/{user}/note. There need not be one.
func (a *API) removeNote(c *call) error { return a.writeNote(c, new(api.SetNote)) }

func (a *API) writeNote(c *call, body *api.SetNote) error {
	event := presence.SetNote{Text: body.Text, Until: presence.InstantOf(body.Until.Time)}
	if err := presence.Check(event); err != nil {
		return err
	}
	var err error
	if event.Request, err = c.conditions(body); err != nil {
		return err
	}
	result, err := a.publish(c, auth.ClaimWrite, event)
	if err != nil {
		return err
	}
	if body.Text == "" {
		return c.noContent()
	}
	record := &result.Record
	return c.writeBody(http.StatusOK, &api.NoteResult{Note: asNote(record.State.Note), Presence: asPresence(record.User.ID, &record.Shown)})
}

func asClaim(c *presence.Claim) api.Claim {
	return api.Claim{
		ID: string(c.ID), Source: string(c.Source), Status: api.Status(c.Status.String()), Note: c.Note,
		Since: at(c.Since), Until: at(c.Until), App: string(c.App),
	}
}

func asNote(n presence.Note) *api.Note {
	if n.Text == "" {
		return nil
	}
	return &api.Note{Text: n.Text, Until: at(n.Until)}
}
