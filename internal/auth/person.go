package auth

import (
	"context"

	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
)

// SignInApp is the app that people use when they sign in to the server's own pages. Every
// account has it. It has no secret and no document, and cannot be deleted.
const SignInApp presence.AppID = "porchlight"

// SignInAppName is what lists and logs call SignInApp.
const SignInAppName = "Porchlight"

// CommandApp is the app of the command line. Every account has it, and its users can allow
// it to act for them by the device flow. It has no secret, no redirect URI and no document,
// and cannot be deleted.
const CommandApp presence.AppID = "porchlight-cli"

// CommandAppName is what lists, logs and the consent page call CommandApp.
const CommandAppName = "Porchlight command line"

// memberScopes are what a person may do who is no administrator.
const memberScopes = "presence:read session:read session:write claim:read claim:write contact:read contact:write " +
	"subscription:read subscription:write directory:read directory:write"

// ScopesOf are what a person with a role may do.
func (a *Authority) ScopesOf(role directory.Role) Scopes {
	if role == directory.Admin {
		return a.scopes.admin
	}
	return a.scopes.member
}

// MayAppoint reports whether p may do all that an administrator may. Only such a caller may
// make users administrators, or act on what an administrator signs in with.
func (a *Authority) MayAppoint(p *Principal) bool { return p.MayGrant(a.scopes.admin, "") }

// MayActAs reports whether p may change what u signs in with, such as the e-mail address:
// whoever receives an administrator's mail can become that administrator.
func (a *Authority) MayActAs(ctx context.Context, p *Principal, u *directory.User) (bool, error) {
	if a.MayAppoint(p) {
		return true, nil
	}
	privileged, err := a.IsAdministrator(ctx, p.Account, u)
	return !privileged, err
}

// IsAdministrator reports whether a user is an administrator or owns the account.
func (a *Authority) IsAdministrator(ctx context.Context, account presence.AccountID, u *directory.User) (bool, error) {
	if u.Role == directory.Admin {
		return true, nil
	}
	found, err := a.directory.Account(ctx, account)
	return found.Owner == u.ID, err
}

// ActsByConsent reports whether p is an app that a person allowed to act for them. Such an
// app makes no credentials: they would outlive the consent.
func (a *Authority) ActsByConsent(p *Principal) bool { return p.Family != "" && !a.BuiltIn(p.App) }

// signInApp is the app of sign-ins.
func (a *Authority) signInApp() App {
	return App{ID: SignInApp, Name: SignInAppName, Scopes: a.scopes.admin, Public: true}
}

// BuiltIn reports whether every account has an app with this id, which nobody can delete.
func (a *Authority) BuiltIn(id presence.AppID) bool {
	_, ok := a.builtIn(id)
	return ok
}

// builtIn is an app that every account has.
func (a *Authority) builtIn(id presence.AppID) (App, bool) {
	switch id {
	case SignInApp:
		return a.signInApp(), true
	case CommandApp:
		return App{ID: CommandApp, Name: CommandAppName, Scopes: a.scopes.admin, Public: true}, true
	default:
		return App{}, false
	}
}
