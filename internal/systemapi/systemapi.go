// Package systemapi is the part of the native API with which the operator of a server
// manages its accounts, reads its audit log and sees its nodes.
//
// It is separate from httpapi because its callers are not principals of an account: they
// have a system token, and no access token is accepted in its place. It guarantees that a
// request without a valid system token gets the same answer whatever it names.
//
// It must not decide anything about accounts: package tenant does.
package systemapi

import (
	"cmp"
	"encoding/json"
	"net/http"

	"porchlight.dev/porchlight/api"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/membership"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/tenant"
	"porchlight.dev/porchlight/internal/wire"
)

// API is the routes. Set the fields, then Mount.
type API struct {
	Native    *httpapi.API // whose errors it has
	Authority *auth.Authority
	Tenants   *tenant.Registry
	Members   *membership.Members
}

// A call is one request with a system token.
type call struct {
	w  http.ResponseWriter
	r  *http.Request
	by audit.Actor
}

// Mount adds the routes.
func (a *API) Mount(rt *wire.Router) {
	for _, route := range []struct {
		method, pattern string
		serve           func(*call) error
	}{
		{"POST", "/v1/system/accounts", a.create},
		{"GET", "/v1/system/accounts", a.list},
		{"GET", "/v1/system/accounts/{account}", a.read},
		{"PATCH", "/v1/system/accounts/{account}", a.update},
		{"DELETE", "/v1/system/accounts/{account}", a.remove},
		{"GET", "/v1/system/accounts/{account}/deletion", a.deletion},
		{"GET", "/v1/system/nodes", a.nodes},
		{"POST", "/v1/system/nodes/upgrade", a.upgradeNodes},
		{"GET", "/v1/system/audit", a.listEvents},
		{"GET", "/v1/system/audit/export", a.exportEvents},
	} {
		rt.Handle(route.method, route.pattern, a.Native, a.authorize(route.serve))
	}
}

// authorize checks the token before anything else of a request is read.
func (a *API) authorize(serve func(*call) error) wire.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		text, err := wire.Bearer(r)
		if err != nil {
			return err
		}
		token, err := a.Authority.AuthenticateSystem(r.Context(), text)
		if err != nil {
			return err
		}
		by := wire.Actor(w, nil)
		by.Token = token.ID
		return serve(&call{w, r, by})
	}
}

func (c *call) account() presence.AccountID { return presence.AccountID(c.r.PathValue("account")) }

func (c *call) read(body any) error { return wire.ReadJSON(c.w, c.r, wire.MaxBody, body) }

func (c *call) write(status int, body any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, status, data)
}

func (a *API) create(c *call) error {
	var body api.CreateAccount
	if err := c.read(&body); err != nil {
		return err
	}
	founding := tenant.Founding{
		Name: body.Name, OwnerEmail: body.OwnerEmail, OwnerName: body.OwnerName, AppName: cmp.Or(body.AppName, "Administration"),
		Plan: body.Plan, Limits: *limitsOf(&directory.Limits{}, body.Limits),
	}
	made, err := a.Tenants.Create(c.r.Context(), &c.by, &founding)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/system/accounts/"+string(made.Account.ID))
	return c.write(http.StatusCreated, &api.CreatedAccount{
		AccountID: string(made.Account.ID), OwnerID: string(made.Owner.ID), ClientID: string(made.App.ID),
		ClientSecret: made.Secret, WebhookSecret: made.WebhookSecret, Account: asAccount(&made.Account),
	})
}

// list pages by id.
func (a *API) list(c *call) error {
	q, err := httpapi.Query(c.r, "limit", "after")
	if err != nil {
		return err
	}
	pg, err := httpapi.PageOf(q, "after")
	if err != nil {
		return err
	}
	found, err := a.Tenants.Directory.Accounts(c.r.Context(), presence.AccountID(pg.After), pg.Limit+1)
	if err != nil {
		return err
	}
	var list api.SystemAccounts
	list.Accounts, list.Next = httpapi.Fill(pg, found, asAccount, func(account *api.SystemAccount) string { return account.ID })
	return c.write(http.StatusOK, &list)
}

func (a *API) read(c *call) error {
	found, err := a.Tenants.Directory.Account(c.r.Context(), c.account())
	if err != nil {
		return err
	}
	usage, err := a.Tenants.Usage(c.r.Context(), found.ID)
	if err != nil {
		return err
	}
	account := asAccount(&found)
	account.Usage = &api.AccountUsage{Users: usage.Users, Apps: usage.Apps, Subscriptions: usage.Subscriptions}
	return c.write(http.StatusOK, &account)
}

func (a *API) update(c *call) error {
	var body api.UpdateSystemAccount
	if err := c.read(&body); err != nil {
		return err
	}
	change := tenant.Change{Name: body.Name, Plan: body.Plan, Suspended: body.Suspended}
	if body.Limits != nil {
		before, err := a.Tenants.Directory.Account(c.r.Context(), c.account())
		if err != nil {
			return err
		}
		change.Limits = limitsOf(&before.Limits, body.Limits)
	}
	after, err := a.Tenants.Update(c.r.Context(), &c.by, c.account(), &change)
	if err != nil {
		return err
	}
	account := asAccount(&after)
	return c.write(http.StatusOK, &account)
}

func (a *API) remove(c *call) error {
	d, err := a.Tenants.Delete(c.r.Context(), &c.by, c.account())
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", "/v1/system/accounts/"+string(d.Account)+"/deletion")
	return c.write(http.StatusAccepted, asDeletion(&d))
}

func (a *API) deletion(c *call) error {
	d, err := a.Tenants.Deletion(c.r.Context(), c.account())
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, asDeletion(&d))
}

// listEvents reads the audit log of the server.
func (a *API) listEvents(c *call) error {
	q, err := httpapi.EventQuery(c.r)
	if err != nil {
		return err
	}
	page, err := a.Native.Events.Page(c.r.Context(), audit.System, q)
	if err != nil {
		return err
	}
	return c.write(http.StatusOK, httpapi.AsEvents(&page))
}

func (a *API) exportEvents(c *call) error {
	return httpapi.WriteExport(c.w, c.r, a.Native.Events, audit.System, c.by)
}

// limitsOf are limits after a change, which may be nil.
func limitsOf(before *directory.Limits, change *api.UpdateAccountLimits) *directory.Limits {
	after := *before
	if change == nil {
		return &after
	}
	for _, limit := range []struct{ from, to *int }{
		{change.Users, &after.Users}, {change.Apps, &after.Apps}, {change.Subscriptions, &after.Subscriptions}, {change.Streams, &after.Streams},
	} {
		if limit.from != nil {
			*limit.to = *limit.from
		}
	}
	return &after
}

func asAccount(a *directory.Account) api.SystemAccount {
	return api.SystemAccount{Account: httpapi.AsAccount(a)}
}

func asDeletion(d *tenant.Deletion) *api.AccountDeletion {
	state := api.DeletionPending
	if !d.Done.IsZero() {
		state = api.DeletionDone
	}
	return &api.AccountDeletion{
		Account: string(d.Account), State: state, Phase: d.Phase, Requested: api.At(d.Requested), Done: api.At(d.Done), Delay: d.Delay,
		Deleted: api.DeletionCounts(d.Counts),
	}
}
