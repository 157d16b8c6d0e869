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

const (
	devicePrefix = tokenPrefix + "device_"
	deviceLen    = len(devicePrefix) + secretLen
)

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

// A deviceValue is a document of the system whose key is the digest of a device code.
type deviceValue struct {
	document.Format
	Account  presence.AccountID `json:"account,omitempty"` // "": that of whoever approves it
	App      presence.AppID     `json:"app"`
	Scopes   string             `json:"scopes"` // asked for, and later approved
	Expires  time.Time          `json:"expires"`
	Decision decision           `json:"decision,omitempty"`
	User     presence.UserID    `json:"user,omitempty"`
	Family   string             `json:"family_sha256,omitempty"` // once it was used
}

// A userCodeValue is a document of the system whose key is the digest of the code that a
// person enters.
type userCodeValue struct {
	document.Format
	Device string `json:"device_sha256"`
}

func deviceKey(digest string) store.Key { return store.Key{Collection: "device", Key: digest} }

func userCodeKey(code string) store.Key {
	return store.Key{Collection: "usercode", Key: digestOf(code).hex()}
}

// Why a device has no access yet, and why a code that somebody entered is refused.
var (
	ErrPending     = &GrantError{"The user has not decided yet"}
	ErrDenied      = &GrantError{"The user denied the request"}
	ErrCodeExpired = &GrantError{"The device code is expired"}
	ErrNoUserCode  = errors.New("no device waits for this code; it may be mistyped, expired or used")
	errBadDevice   = &GrantError{"The device code is unknown, or belongs to another app"}
)

// expiredFor is how long a device learns that its code is expired.
const expiredFor = 10 * time.Minute

// NewDeviceCode makes the codes of a device. account is "" for an app that every account
// has.
func (a *Authority) NewDeviceCode(ctx context.Context, account presence.AccountID, app presence.AppID, scopes Scopes) (DeviceCode, error) {
	made := DeviceCode{Code: devicePrefix + newSecret(), Expires: a.now().Add(DeviceLasts)}
	digest := digestOf(made.Code).hex()
	v := deviceValue{Format: document.Current(), Account: account, App: app, Scopes: scopes.String(), Expires: made.Expires}
	if err := a.docs.Write(ctx, system, v.doc(digest, "")); err != nil {
		return DeviceCode{}, fmt.Errorf("make a device code: %w", err)
	}
	err := document.Again(func() error { // a code may be taken
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

func (v *deviceValue) doc(digest, version string) store.Doc {
	doc := document.New(deviceKey(digest), version, *v)
	doc.Until = v.Expires.Add(expiredFor)
	if v.Family != "" {
		doc.Until = v.Expires.Add(knownAfter)
	}
	return doc
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
	docs, err := a.docs.Load(ctx, system, userCodeKey(code))
	if err != nil {
		return nil, nil, fmt.Errorf("read user code: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil, ErrNoUserCode
	}
	var named userCodeValue
	if err := document.Decode(&docs[0], &named); err != nil {
		return nil, nil, err
	}
	v, doc, err := a.deviceByDigest(ctx, named.Device)
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

func (a *Authority) deviceByDigest(ctx context.Context, digest string) (*deviceValue, *store.Doc, error) {
	docs, err := a.docs.Load(ctx, system, deviceKey(digest))
	if err != nil {
		return nil, nil, fmt.Errorf("read device code: %w", err)
	}
	if len(docs) == 0 {
		return nil, nil, errBadDevice
	}
	v := new(deviceValue)
	return v, &docs[0], document.Decode(&docs[0], v)
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
		if err := a.docs.Write(ctx, system, v.doc(doc.Key.Key, doc.Version)); err != nil {
			return fmt.Errorf("decide about device: %w", err)
		}
		return nil
	})
}

// RedeemDevice gives an app what a person allowed its device. ErrPending, ErrDenied,
// ErrCodeExpired, another *GrantError, or a *ReuseError.
func (a *Authority) RedeemDevice(ctx context.Context, app presence.AppID, code string) (*Access, error) {
	if len(code) != deviceLen || !strings.HasPrefix(code, devicePrefix) {
		return nil, errBadDevice
	}
	digest := digestOf(code).hex()
	v, doc, err := a.deviceByDigest(ctx, digest)
	if err != nil {
		return nil, err
	}
	switch {
	case v.App != app:
		return nil, errBadDevice
	case v.Family != "":
		return nil, a.reusedDevice(ctx, v)
	case !a.clock().Before(v.Expires):
		return nil, ErrCodeExpired
	case v.Decision == denied:
		return nil, ErrDenied
	case v.Decision == undecided:
		return nil, ErrPending
	}
	f := &familyValue{Account: v.Account, App: v.App, User: v.User, Scopes: v.Scopes}
	return a.exchange(ctx, f, func(family string) error {
		v.Family = family
		return a.docs.Write(ctx, system, v.doc(digest, doc.Version))
	}, func() error {
		if v, _, err = a.deviceByDigest(ctx, digest); err != nil {
			return err
		}
		return a.reusedDevice(ctx, v)
	})
}

func (a *Authority) reusedDevice(ctx context.Context, v *deviceValue) error {
	reuse := &ReuseError{What: "device code", Account: v.Account, User: v.User, App: v.App}
	return errors.Join(reuse, a.endFamily(ctx, v.Account, v.User, v.Family))
}
