package zoomapi

import (
	"net/http"
	"strconv"
	"strings"

	"porchlight.dev/porchlight/internal/webhook"
)

// A customHeader is Zoom's custom_header: how requests to the endpoint are authenticated
// besides their signature. A password or another secret is read and never written.
type customHeader struct {
	Type           int    `json:"custom_header_type"`
	Username       string `json:"username,omitempty"`
	Password       string `json:"password,omitempty"`
	ClientID       string `json:"client_id,omitempty"`
	ClientSecret   string `json:"client_secret,omitempty"`
	TokenURL       string `json:"token_url,omitempty"`
	Scope          string `json:"scope,omitempty"`
	State          string `json:"state,omitempty"`
	Authentication string `json:"client_authentication,omitempty"`
	Key            string `json:"custom_header_key,omitempty"`
	Value          string `json:"custom_header_value,omitempty"`
}

// The values of custom_header_type.
const (
	headerNone = iota
	headerBasic
	headerOAuth
	headerKeyValue
)

// authentication checks the fields of the header's type; nil is no header.
func (h *customHeader) authentication() (a webhook.Authentication, err error) {
	if h == nil {
		return a, nil
	}
	switch h.Type {
	case headerNone:
	case headerBasic:
		a = webhook.Authentication{Kind: webhook.AuthBasic, Username: h.Username, Password: h.Password}
		err = checkTexts(text{"username", h.Username, 256, true}, text{"password", h.Password, 256, true})
	case headerOAuth:
		a = webhook.Authentication{
			Kind: webhook.AuthOAuth, TokenURL: h.TokenURL, ClientID: h.ClientID, ClientSecret: h.ClientSecret, Scope: h.Scope,
		}
		err = h.checkOAuth()
	case headerKeyValue:
		a = webhook.Authentication{Kind: webhook.AuthHeader, HeaderName: h.Key, HeaderValue: h.Value}
		err = h.checkKeyValue()
	default:
		err = &codeError{http.StatusNotFound, 1801, "The custom header type validate failed: " + strconv.Itoa(h.Type) + "."}
	}
	return a, err
}

func (h *customHeader) checkOAuth() error {
	switch h.Authentication {
	case "", "header":
	case "body":
		return badEvents("Client authentication 'body' is not supported: the credentials are sent in the Authorization header.")
	default:
		return badEvents("Client authentication must be 'header' or 'body'.")
	}
	return checkTexts(
		text{"client id", h.ClientID, 256, true}, text{"client secret", h.ClientSecret, 256, true}, text{"token url", h.TokenURL, 1000, true},
		text{"scope", h.Scope, 255, false}, text{"state", h.State, 255, false},
	)
}

func (h *customHeader) checkKeyValue() error {
	if err := checkTexts(text{"custom header key", h.Key, 256, true}, text{"custom header value", h.Value, 256, true}); err != nil {
		return err
	}
	for _, c := range []byte(h.Key) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return badEvents("The custom header key can only contain letters, numbers, and -.")
		}
	}
	return nil
}

// A text is a field of a custom header, by the name that Zoom's messages have.
type text struct {
	name, value string
	most        int
	required    bool
}

func checkTexts(texts ...text) error {
	for _, t := range texts {
		switch {
		case t.required && t.value == "":
			return badEvents("The " + t.name + " is required.")
		case len(t.value) > t.most:
			return badEvents("The length of " + strings.TrimPrefix(t.name, "custom ") + " exceeds the limit of " + strconv.Itoa(t.most) + ".")
		case strings.ContainsAny(t.value, "\r\n"):
			return badEvents("The input value can't contain line feed.")
		}
	}
	return nil
}

// customHeaderOf shows an authentication without its secrets.
func customHeaderOf(a *webhook.Authentication) *customHeader {
	switch a.Kind {
	case webhook.AuthBasic:
		return &customHeader{Type: headerBasic, Username: a.Username}
	case webhook.AuthOAuth:
		return &customHeader{Type: headerOAuth, ClientID: a.ClientID, TokenURL: a.TokenURL, Scope: a.Scope, Authentication: "header"}
	case webhook.AuthHeader:
		return &customHeader{Type: headerKeyValue, Key: a.HeaderName}
	default:
		return &customHeader{Type: headerNone}
	}
}
