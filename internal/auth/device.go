package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// DeviceLasts is how long a person has to enter the code of a device.
const DeviceLasts = 15 * time.Minute

// Codes that people type have no vowels, so that they form no words, and no letters that
// are easily mistaken (RFC 8628 §6.1). They have 34 bits, and are guarded by limits.
const (
	userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen      = 8
)

// A DeviceCode lets a device without a browser ask for access.
type DeviceCode struct {
	Code    string // the device's secret
	User    string // what the person enters elsewhere, as in "BCDF-GHJK"
	Expires time.Time
}

// A DeviceRequest is what a person is asked to allow a device.
type DeviceRequest struct {
	App     App
	Scopes  Scopes // asked for
	Expires time.Time
}

// What a person has decided about a device.
type decision string

const (
	undecided decision = ""
	approved  decision = "approved"
	denied    decision = "denied"
)

// The Scopes of a deviceValue are those that were asked for, and later those approved.
type deviceValue struct {
	oneTimeValue

	Decision decision `json:"decision,omitempty"`
}

// A userCodeValue is a document of the system whose key is the digest of the code that a
// person enters.
type userCodeValue struct {
	document.Format
	Device string `json:"device_sha256"`
}

func userCodeKey(code string) store.Key {
	return store.Key{Collection: "usercode", Key: digestOf(code).hex()}
}

// Why a device has no access yet, and why a code that somebody entered is refused.
var (
	ErrPending     = &GrantError{"The user has not decided yet"}
	ErrDenied      = &GrantError{"The user denied the request"}
	ErrCodeExpired = &GrantError{"The device code has expired"}
	ErrNoUserCode  = errors.New("no device waits for this code; it may be mistyped, expired or used")
	errBadDevice   = &GrantError{"The device code is unknown, or belongs to another app"}
)

func deviceCode() *oneTimeKind {
	return &oneTimeKind{name: "device code", collection: "device", prefix: tokenPrefix + "device_", expiredFor: 10 * time.Minute, unknown: errBadDevice}
}

// NewDeviceCode makes the codes of a device. account is "" for an app that every account
// has.
func (a *Authority) NewDeviceCode(ctx context.Context, account presence.AccountID, app presence.AppID, scopes Scopes) (DeviceCode, error) {
	made := DeviceCode{Expires: a.now().Add(DeviceLasts)}
	var digest string
	var err error
	made.Code, digest, err = a.newOneTime(ctx, deviceCode(), &deviceValue{
		oneTimeValue: oneTimeValue{Format: document.Current(), Account: account, App: app, Scopes: scopes.String(), Expires: made.Expires},
	})
	if err != nil {
		return DeviceCode{}, err
	}
	err = document.Again(func() error { // a code may be taken
		code := newUserCode()
		doc := document.New(userCodeKey(code), "", userCodeValue{document.Current(), digest})
		doc.Until = made.Expires
		made.User = code[:userCodeLen/2] + "-" + code[userCodeLen/2:]
		return a.docs.Write(ctx, system, doc)
	})
	if err != nil {
		return DeviceCode{}, fmt.Errorf("make a device code: %w", err)
	}
	return made, nil
}

func newUserCode() string {
	code := make([]byte, 0, userCodeLen)
	for len(code) < userCodeLen {
		var b [1]byte
		rand.Read(b[:])        // it never fails: the process would end
		if b[0] >= 256/20*20 { // the letters would not be equally likely
			continue
		}
		code = append(code, userCodeAlphabet[int(b[0])%len(userCodeAlphabet)])
	}
	return string(code)
}

// readUserCode is a code as a person may type it: in small letters, with or without the
// hyphen.
func readUserCode(text string) (string, bool) {
	if len(text) > maxShown {
		return "", false
	}
	code := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t", r) {
			return -1
		}
		return r
	}, strings.ToUpper(text))
	return code, len(code) == userCodeLen && strings.Trim(code, userCodeAlphabet) == ""
}

// device finds the undecided request for which a person of an account enters a code.
func (a *Authority) device(ctx context.Context, account presence.AccountID, userCode string) (*deviceValue, *store.Doc, error) {
	code, ok := readUserCode(userCode)
	if !ok {
		return nil, nil, ErrNoUserCode
	}
	waiting, err := a.find(ctx, userCodeKey(code), ErrNoUserCode)
	if err != nil {
		return nil, nil, err
	}
	var named userCodeValue
	if err := document.Decode(waiting, &named); err != nil {
		return nil, nil, err
	}
	v := new(deviceValue)
	doc, err := a.readOneTime(ctx, deviceCode(), named.Device, v)
	switch {
	case errors.Is(err, errBadDevice):
		return nil, nil, ErrNoUserCode
	case err != nil:
		return nil, nil, err
	case v.Account != "" && v.Account != account, v.Decision != undecided, !a.clock().Before(v.Expires):
		return nil, nil, ErrNoUserCode
	default:
		return v, doc, nil
	}
}

// DeviceRequest is what a person of an account who entered a code is asked to allow.
// ErrNoUserCode, also for a device of another account's app.
func (a *Authority) DeviceRequest(ctx context.Context, account presence.AccountID, userCode string) (*DeviceRequest, error) {
	v, _, err := a.device(ctx, account, userCode)
	if err != nil {
		return nil, err
	}
	app, err := a.App(ctx, account, v.App)
	if errors.Is(err, ErrNoApp) {
		return nil, ErrNoUserCode
	}
	scopes, _ := a.scopes.read(v.Scopes)
	return &DeviceRequest{App: app, Scopes: scopes, Expires: v.Expires}, err
}

// DecideDevice lets the device that shows a code have scopes for a person, or denies them.
func (a *Authority) DecideDevice(ctx context.Context, account presence.AccountID, user presence.UserID, userCode string, allow bool, scopes Scopes) error {
	return document.Again(func() error {
		v, doc, err := a.device(ctx, account, userCode)
		if err != nil {
			return err
		}
		v.Account, v.User, v.Decision = account, user, denied
		if allow {
			v.Decision, v.Scopes = approved, scopes.String()
			if err := a.Consent(ctx, account, user, v.App, scopes); err != nil {
				return err
			}
		}
		if err := a.docs.Write(ctx, system, deviceCode().doc(v, doc.Key.Key, doc.Version)); err != nil {
			return fmt.Errorf("decide about device: %w", err)
		}
		return nil
	})
}

// RedeemDevice gives an app what a person allowed its device. ErrPending, ErrDenied,
// ErrCodeExpired, another *GrantError, or a *ReuseError.
func (a *Authority) RedeemDevice(ctx context.Context, app presence.AppID, code string) (*Access, error) {
	v := new(deviceValue)
	return a.redeem(ctx, deviceCode(), app, code, v, func() error {
		switch {
		case !a.clock().Before(v.Expires):
			return ErrCodeExpired
		case v.Decision == denied:
			return ErrDenied
		case v.Decision == undecided:
			return ErrPending
		default:
			return nil
		}
	})
}
