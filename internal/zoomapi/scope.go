package zoomapi

import "porchlight.dev/porchlight/internal/auth"

// Scopes are Zoom's names of scopes, granular before classic.
func Scopes() []auth.Alias {
	return []auth.Alias{
		{Name: "user:update:presence_status", Scopes: []auth.Scope{auth.ClaimWrite}},
		{Name: "user:update:presence_status:admin", Scopes: []auth.Scope{auth.ClaimWrite}, Admin: true},
		{Name: "user:read:presence_status", Scopes: []auth.Scope{auth.PresenceRead}},
		{Name: "user:read:presence_status:admin", Scopes: []auth.Scope{auth.PresenceRead}, Admin: true},
		{Name: "user:read:presence_status:master", Scopes: []auth.Scope{auth.PresenceRead}, Admin: true},
		{Name: "user:read:user", Scopes: []auth.Scope{auth.DirectoryRead}},
		{Name: "user:read:user:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "user:read:list_users:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "user:write:user:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "user:update:user", Scopes: []auth.Scope{auth.DirectoryWrite}},
		{Name: "user:update:user:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "user:update:status:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "user:update:email:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "user:delete:user:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "user:read:email:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "group:read:list_groups:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "group:read:group:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "group:read:list_members:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "group:write:member:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "group:delete:member:admin", Scopes: []auth.Scope{auth.DirectoryWrite}, Admin: true},
		{Name: "contact:read:list_contacts", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}},
		{Name: "contact:read:list_contacts:admin", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}, Admin: true},
		{Name: "team_chat:read:list_contacts", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}},
		{Name: "team_chat:read:contact", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}},
		{Name: "marketplace_app:read", Scopes: []auth.Scope{auth.SubscriptionRead}},
		{Name: "marketplace_app:read:admin", Scopes: []auth.Scope{auth.SubscriptionRead}, Admin: true},

		{Name: "user_info:read", Scopes: []auth.Scope{auth.DirectoryRead}},
		{Name: "user:read", Scopes: []auth.Scope{auth.PresenceRead, auth.DirectoryRead}},
		{Name: "user:read:admin", Scopes: []auth.Scope{auth.PresenceRead, auth.DirectoryRead}, Admin: true},
		{Name: "user:write", Scopes: []auth.Scope{auth.ClaimWrite}},
		{Name: "user:write:admin", Scopes: []auth.Scope{auth.ClaimWrite, auth.DirectoryWrite}, Admin: true},
		{Name: "group:read:admin", Scopes: []auth.Scope{auth.DirectoryRead}, Admin: true},
		{Name: "group:write:admin", Scopes: []auth.Scope{auth.DirectoryRead, auth.DirectoryWrite}, Admin: true},
		{Name: "user:master", Scopes: []auth.Scope{auth.PresenceRead}, Admin: true},
		{Name: "contact:read", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}}, // also native
		{Name: "contact:read:admin", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}, Admin: true},
		{Name: "chat_contact:read", Scopes: []auth.Scope{auth.ContactRead, auth.PresenceRead}},
	}
}
