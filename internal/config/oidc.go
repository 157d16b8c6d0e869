package config

import (
	"fmt"
	"net/url"
	"os"
	"strings"
)

// OIDCClientSecret is the secret in its file; "" if none is set.
func (c *Config) OIDCClientSecret() (string, error) {
	if c.OIDCClientSecretFile == "" {
		return "", nil
	}
	data, err := os.ReadFile(c.OIDCClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("oidc-client-secret-file: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// OIDCDomains are those of oidc-allowed-domains.
func (c *Config) OIDCDomains() []string { return items(c.OIDCAllowedDomains) }

func (k *checker) oidc() {
	c := k.config
	if c.OIDCIssuer == "" {
		if c.OIDCClientID != "" {
			k.add("oidc-client-id", "is set, but oidc-issuer is not: set both or neither")
		}
		return
	}
	u, err := url.Parse(c.OIDCIssuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		k.add("oidc-issuer", "%q is not an issuer URL: expected a form such as https://login.example.com", c.OIDCIssuer)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		k.add("oidc-issuer", "must be an https URL, because the server fetches the keys that verify ID tokens from it")
	}
	if c.OIDCClientID == "" {
		k.add("oidc-client-id", "is not set, but oidc-issuer is: set both or neither")
	}
	if c.OIDCClientSecretFile != "" {
		k.secret("oidc-client-secret-file", c.OIDCClientSecretFile)
	}
	if c.OIDCAdminGroup != "" && c.OIDCGroupsClaim == "" {
		k.add("oidc-admin-group", "is set, but oidc-groups-claim is not: set the claim that lists the groups")
	}
}
