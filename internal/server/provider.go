package server

import (
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/signin"
)

// newProvider is the OpenID provider of the settings; nil if there is none.
func (s *Server) newProvider(signIns *signin.Registry) *signin.Provider {
	c := &s.config
	if c.OIDCIssuer == "" {
		return nil
	}
	return signin.NewProvider(signin.ProviderOptions{
		Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, ClientSecret: s.providerSecret, Name: c.OIDCName, Account: presence.AccountID(c.OIDCAccount),
		GroupsClaim: c.OIDCGroupsClaim, AdminGroup: c.OIDCAdminGroup, CreateUsers: c.OIDCCreateUsers, Domains: c.OIDCDomains(),
		Registry: signIns, Users: s.provisioner,
	})
}
