package api

// CommandLineApp is the client id of the command porchlight. Every account has this app. It
// is public: it has no secret, and acts for people who allow it by the device flow.
const CommandLineApp = "porchlight-cli"

// An AuthorizationRequest describes what an app asks a signed-in person for. If Redirect is
// set, there is nothing to ask: the browser goes there, with an error for the app.
type AuthorizationRequest struct {
	AppName  string   `json:"app_name,omitempty"`
	Account  string   `json:"account,omitempty"` // its name
	Scopes   []string `json:"scopes,omitempty"`
	Allows   []string `json:"allows,omitempty"`  // the scopes in words
	Returns  string   `json:"returns,omitempty"` // the host that the browser goes to afterwards
	Redirect string   `json:"redirect,omitempty"`
	// Remembered: the person allowed this before, and need not be asked again.
	Remembered bool `json:"remembered"`
}

// AuthorizationDecision is a person's answer to an AuthorizationRequest. Request is the
// query with which the app sent the browser.
type AuthorizationDecision struct {
	Request string `json:"request"`
	Allow   *bool  `json:"allow"`
}

// AuthorizationResult is where the browser goes after the decision.
type AuthorizationResult struct {
	Redirect string `json:"redirect"`
}

// A DeviceRequest describes the device that shows a code.
type DeviceRequest struct {
	AppName string   `json:"app_name"`
	Account string   `json:"account"`
	Scopes  []string `json:"scopes"`
	Allows  []string `json:"allows"` // the scopes in words
	Expires Time     `json:"expires"`
}

// DeviceDecision is a person's answer to a DeviceRequest.
type DeviceDecision struct {
	UserCode string `json:"user_code"`
	Allow    *bool  `json:"allow"`
}

// A Grant is an app that a person allowed to act for them.
type Grant struct {
	App     string   `json:"app"`
	AppName string   `json:"app_name"`
	Scopes  []string `json:"scopes"`
	Allows  []string `json:"allows"` // the scopes in words
	Created Time     `json:"created"`
	Changed Time     `json:"changed"` // when the app last got access by consent
}

// Grants are all of a person.
type Grants struct {
	Grants []Grant `json:"grants"`
}
