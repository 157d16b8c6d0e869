package oauthapi

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// metadataPath is where clients find the endpoints (RFC 8414).
const metadataPath = "/.well-known/oauth-authorization-server"

type metadata struct {
	Issuer           string   `json:"issuer"`
	Authorization    string   `json:"authorization_endpoint"`
	Token            string   `json:"token_endpoint"`
	Revocation       string   `json:"revocation_endpoint"`
	Device           string   `json:"device_authorization_endpoint"`
	Scopes           []string `json:"scopes_supported"`
	ResponseTypes    []string `json:"response_types_supported"`
	ResponseModes    []string `json:"response_modes_supported"`
	Grants           []string `json:"grant_types_supported"`
	TokenMethods     []string `json:"token_endpoint_auth_methods_supported"`
	RevokeMethods    []string `json:"revocation_endpoint_auth_methods_supported"`
	ChallengeMethods []string `json:"code_challenge_methods_supported"`
	Issued           bool     `json:"authorization_response_iss_parameter_supported"`
	Documentation    string   `json:"service_documentation"`
}

func (e *API) metadata(w http.ResponseWriter, _ *http.Request) error {
	base := e.BaseURL(w)
	methods := []string{"client_secret_basic", "client_secret_post", "none"}
	body, err := json.Marshal(metadata{
		Issuer: base, Authorization: base + "/oauth/authorize", Token: base + "/oauth/token", Revocation: base + "/oauth/revoke", Device: base + devicePath,
		Scopes: e.Authority.ScopeNames(), ResponseTypes: []string{"code"}, ResponseModes: []string{"query"},
		Grants:       []string{grantCode, grantRefresh, grantClient, grantAccount, grantDevice},
		TokenMethods: methods, RevokeMethods: methods, ChallengeMethods: []string{challengeMethod}, Issued: true, Documentation: base + "/help/oauth",
	})
	if err != nil {
		return fmt.Errorf("write metadata: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	_, err = w.Write(append(body, '\n'))
	return err
}
