package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/wire"
)

const callbackPath = "/signin/oidc/callback"

// mountProvider adds the pages that lead to the OpenID provider and back.
func (a *API) mountProvider(rt *wire.Router) {
	if a.Provider == nil {
		return
	}
	rt.Handle(http.MethodGet, "/signin/oidc", a, a.Site.OwnHost(a.beginProvider))
	rt.Handle(http.MethodGet, callbackPath, a, a.Site.OwnHost(a.finishProvider))
}

// beginProvider sends the browser to the provider. A cookie ties the answer to this browser;
// each flow has its own, so that two tabs do not disturb each other.
func (a *API) beginProvider(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		return (&call{w: w, r: r}).noContent()
	}
	q, err := wire.Query(r)
	if err != nil {
		return err
	}
	flow, to, err := a.Provider.Begin(r.Context(), a.baseURL(w)+callbackPath, localPath(q.Get("next")))
	if err != nil {
		return err
	}
	text, err := json.Marshal(&flow)
	if err != nil {
		return err
	}
	wire.SetFlow(w, flow.State, base64.RawURLEncoding.EncodeToString(text))
	return redirect(w, to)
}

// finishProvider is where the provider sends the browser back to.
func (a *API) finishProvider(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodHead {
		return (&call{w: w, r: r}).noContent()
	}
	q, err := wire.Query(r)
	if err != nil {
		return err
	}
	answer := signin.Answer{Code: q.Get("code"), State: q.Get("state"), Issuer: q.Get("iss"), Error: q.Get("error")}
	flow := new(signin.Flow)
	text, err := base64.RawURLEncoding.DecodeString(wire.TakeFlow(w, r, answer.State))
	if err != nil || json.Unmarshal(text, flow) != nil {
		return signin.ErrFlow
	}
	at := from(w, r)
	made, err := a.Provider.Finish(r.Context(), a.baseURL(w)+callbackPath, flow, &answer, &at)
	if err != nil {
		return err
	}
	if err := a.replaceCookie(w, r, made); err != nil {
		return err
	}
	return redirect(w, localPath(flow.Next))
}

func redirect(w http.ResponseWriter, to string) error {
	header(w, "Location", to)
	header(w, "Referrer-Policy", "no-referrer")
	SetPrivate(w)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// localPath is a page of this server, or the board. Browsers read a backslash as a slash,
// and leave out tabs and line feeds.
func localPath(given string) string {
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(given, "/") || strings.HasPrefix(given, "//") ||
		strings.ContainsAny(given, "\\\t\r\n") {
		return "/"
	}
	return given
}
