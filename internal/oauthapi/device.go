package oauthapi

import (
	"crypto/sha256"
	"net/http"
	"net/netip"
	"time"

	"porchlight.dev/porchlight/internal/auth"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/quota"
	"porchlight.dev/porchlight/internal/wire"
)

// devicePath is the device authorization endpoint (RFC 8628).
const devicePath = "/oauth/devicecode"

// pollInterval is how often a device may ask whether the person has decided.
const pollInterval = 5 * time.Second

type deviceAnswer struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	Complete        string `json:"verification_uri_complete"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
}

// deviceCode answers POST /oauth/devicecode.
func (e *API) deviceCode(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	account, app, err := e.client(w, r, form)
	if err != nil {
		return err
	}
	scopes, err := e.narrow(app.Scopes, form.get("scope"))
	if err != nil {
		return err
	}
	if err := e.admit(w, &asker{account: account, app: &app}); err != nil {
		return err
	}
	if app.Public {
		if err := e.admitDevice(wire.ClientOf(w).LimitKey()); err != nil {
			return err
		}
	}
	made, err := e.Authority.NewDeviceCode(r.Context(), account, app.ID, scopes)
	if err != nil {
		return err
	}
	page := e.BaseURL(w) + "/device"
	writeJSON(w, http.StatusOK, deviceAnswer{
		DeviceCode: made.Code, UserCode: made.User, VerificationURI: page, Complete: page + "?user_code=" + made.User,
		ExpiresIn: int(auth.DeviceLasts / time.Second), Interval: int(pollInterval / time.Second),
	})
	return nil
}

// maxBegun is how many codes the devices of an address may get in a minute. Each is stored
// for 25 minutes, and nobody has to be known to get one.
const maxBegun = 120

func (e *API) admitDevice(from netip.Prefix) error {
	now := e.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.begun.Get(from)
	if _, wait := b.Take(1, maxBegun, time.Minute, now); wait > 0 {
		limit := quota.Limit{Name: "device-codes-per-address", Unit: "codes for devices a minute", Most: maxBegun}
		return limit.Reached(wait)
	}
	e.begun.Set(from, b, now)
	return nil
}

// admitPoll refuses a device that asks more often than it was told to. One answer may come
// late and the next one early.
func (e *API) admitPoll(code string) error {
	digest := sha256.Sum256([]byte(code))
	key, now := string(digest[:]), e.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.polls.Get(key)
	_, wait := b.Take(1, 2, 2*pollInterval, now)
	e.polls.Set(key, b, now)
	if wait > 0 {
		return refuse("slow_down", "The device asks too often; wait 5 seconds longer each time")
	}
	return nil
}

// Codes are short, because people type them. So a person who guesses must wait.
const (
	maxGuesses  = 10
	guessPeriod = 10 * time.Minute
)

// AdmitGuess refuses a person who entered too many codes that no device shows.
func (e *API) AdmitGuess(user presence.UserID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	guesses := quota.Limit{Name: "device-codes-per-user", Unit: "wrong codes in 10 minutes", Most: maxGuesses}
	b := e.guesses.Get(user)
	if _, wait := b.Take(1, maxGuesses, guessPeriod, e.Clock()); wait > 0 {
		return guesses.Reached(wait)
	}
	return nil
}

// CountGuess counts a code that no device shows.
func (e *API) CountGuess(user presence.UserID) {
	now := e.Clock()
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.guesses.Get(user)
	b.Take(1, maxGuesses, guessPeriod, now)
	e.guesses.Set(user, b, now)
}
