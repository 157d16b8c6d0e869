package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"

	"porchlight.dev/porchlight/api"
)

// The methods of this file manage the accounts of a server, and read its audit log. They need a client whose token
// is a system token, from "porchlight system token create".

const systemAccounts = "/v1/system/accounts"

// CreateAccount makes an account with an owner and an app, whose secrets only this
// response has.
func (c *Client) CreateAccount(ctx context.Context, account api.CreateAccount) (api.CreatedAccount, error) {
	return ask[api.CreatedAccount](ctx, c, call{method: http.MethodPost, path: systemAccounts, body: account})
}

// SystemAccounts lists the accounts of the server.
func (c *Client) SystemAccounts(ctx context.Context) iter.Seq2[api.SystemAccount, error] {
	return pages(ctx, c, systemAccounts, func(p *api.SystemAccounts) ([]api.SystemAccount, string) { return p.Accounts, p.Next })
}

// SystemAccount reads an account of the server, and what it has.
func (c *Client) SystemAccount(ctx context.Context, id string) (api.SystemAccount, error) {
	return ask[api.SystemAccount](ctx, c, call{method: http.MethodGet, path: path("v1", "system", "accounts", id)})
}

// UpdateSystemAccount renames, plans, limits, suspends or resumes an account.
func (c *Client) UpdateSystemAccount(ctx context.Context, id string, change api.UpdateSystemAccount) (api.SystemAccount, error) {
	return ask[api.SystemAccount](ctx, c, call{method: http.MethodPatch, path: path("v1", "system", "accounts", id), body: change})
}

// DeleteAccount begins the deletion of an account with everything that it has.
func (c *Client) DeleteAccount(ctx context.Context, id string) (api.AccountDeletion, error) {
	return ask[api.AccountDeletion](ctx, c, call{method: http.MethodDelete, path: path("v1", "system", "accounts", id)})
}

// AccountDeletion reads how far the deletion of an account is.
func (c *Client) AccountDeletion(ctx context.Context, id string) (api.AccountDeletion, error) {
	return ask[api.AccountDeletion](ctx, c, call{method: http.MethodGet, path: path("v1", "system", "accounts", id, "deletion")})
}

// SystemNodes lists the nodes that serve the store, as the node that answers sees them.
func (c *Client) SystemNodes(ctx context.Context) (api.SystemNodes, error) {
	return ask[api.SystemNodes](ctx, c, call{method: http.MethodGet, path: path("v1", "system", "nodes")})
}

// UpgradeNodes lets nodes write the newest formats that all of them read.
func (c *Client) UpgradeNodes(ctx context.Context) (api.NodesUpgrade, error) {
	return ask[api.NodesUpgrade](ctx, c, call{method: http.MethodPost, path: path("v1", "system", "nodes", "upgrade")})
}

// SystemAuditEvents is AuditEvents for the audit log of the server. AuditOptions.User is
// not allowed.
func (c *Client) SystemAuditEvents(ctx context.Context, o AuditOptions) iter.Seq2[json.RawMessage, error] {
	return c.auditEvents(ctx, path("v1", "system", "audit"), &o)
}

// ExportSystemAudit is ExportAudit for the audit log of the server.
func (c *Client) ExportSystemAudit(ctx context.Context, w io.Writer) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: path("v1", "system", "audit", "export"), copyTo: w})
	return err
}
