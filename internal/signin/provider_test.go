package signin_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"porchlight.dev/porchlight/internal/apptest"
	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/provision"
	"porchlight.dev/porchlight/internal/publish"
	"porchlight.dev/porchlight/internal/signin"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/store/enginetest"
)

const (
	clientID = "porchlight-client"
	callback = "https://presence.example.com/signin/oidc/callback"
)

// An issuer is an OpenID provider that can be told to misbehave.
type issuer struct {
	t   *testing.T
	url string

	mu     sync.Mutex
	down   bool
	keys   map[string]*rsa.PrivateKey // by key id; the one of current signs
	kid    string
	grants map[string]grant // by code
	forge  func(claims map[string]any, nonce string) string
	// info is what the UserInfo endpoint says; nil: there is none.
	info map[string]any
	// asked counts discoveries; each takes as long as wait says.
	asked int
	wait  func()
}

type grant struct {
	claims           map[string]any
	nonce, challenge string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, keys: make(map[string]*rsa.PrivateKey), grants: make(map[string]grant)}
	i.rotate("first")
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("/keys", i.serveKeys)
	mux.HandleFunc("/token", i.token)
	mux.HandleFunc("/userinfo", i.userInfo)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

func (i *issuer) rotate(kid string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	apptest.Check(i.t, err)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.kid = map[string]*rsa.PrivateKey{kid: key}, kid
}

func (i *issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.asked++; i.wait != nil {
		i.wait()
	}
	if i.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	found := map[string]any{
		"issuer": i.url, "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token", "jwks_uri": i.url + "/keys",
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"}, "authorization_response_iss_parameter_supported": true,
	}
	if i.info != nil {
		found["userinfo_endpoint"] = i.url + "/userinfo"
	}
	writeJSON(w, found)
}

func (i *issuer) userInfo(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer x" || i.info["sub"] == nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	writeJSON(w, i.info)
}

// says sets what the UserInfo endpoint says.
func (i *issuer) says(info map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.info = info
}

func (i *issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var set jose.JSONWebKeySet
	for kid, key := range i.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: "RS256", Use: "sig"})
	}
	writeJSON(w, set)
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	g, ok := i.grants[r.FormValue("code")]
	delete(i.grants, r.FormValue("code"))
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge {
		w.WriteHeader(http.StatusBadRequest)
		writeJSON(w, map[string]string{"error": "invalid_grant"})
		return
	}
	sign := i.sign
	if i.forge != nil {
		sign = i.forge
	}
	writeJSON(w, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": sign(g.claims, g.nonce)})
}

// sign makes an ID token of claims over the usual ones.
func (i *issuer) sign(claims map[string]any, nonce string) string {
	return i.signWith(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: i.keys[i.kid], KeyID: i.kid}}, claims, nonce)
}

func (i *issuer) signWith(key jose.SigningKey, claims map[string]any, nonce string) string {
	signer, err := jose.NewSigner(key, nil)
	if err != nil {
		i.t.Error(err)
		return ""
	}
	signed, err := signer.Sign(i.payload(claims, nonce))
	if err != nil {
		i.t.Error(err)
		return ""
	}
	text, _ := signed.CompactSerialize()
	return text
}

func (i *issuer) payload(claims map[string]any, nonce string) []byte {
	now := apptest.Noon().Now()
	all := map[string]any{"iss": i.url, "aud": clientID, "nonce": nonce, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	maps.Copy(all, claims)
	text, _ := json.Marshal(all)
	return text
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// A site is a server with a provider.
type site struct {
	*apptest.People
	*apptest.Clock
	*issuer

	store    store.Store
	account  presence.AccountID
	owner    directory.User
	provider *signin.Provider
	users    *provision.Provisioner
}

type subscriptions struct{}

func (subscriptions) DeleteOwner(context.Context, presence.AccountID, presence.UserID) error {
	return nil
}

func (subscriptions) OwnerChanged(context.Context, presence.AccountID, presence.UserID) error {
	return nil
}

func newSite(t *testing.T, change func(*signin.ProviderOptions)) *site {
	t.Helper()
	s := &site{Clock: apptest.Noon(), issuer: newIssuer(t)}
	s.store = enginetest.Open(t, s.Now)
	s.People = apptest.On(t, s.store, s.Now)
	s.account, s.owner = s.Account("owner@example.com")
	known := func(ctx context.Context, u store.User) error {
		_, err := s.Directory.User(ctx, u.Account, u.ID)
		return err
	}
	log, recorder := slog.New(slog.DiscardHandler), audit.New(s.store, s.Now)
	publisher := publish.New(publish.Options{Store: s.store, Policy: presence.DefaultPolicy(), Known: known, Clock: s.Now, Log: log})
	registry := signin.New(signin.Options{
		Store: s.store, Directory: s.Directory, Authority: s.Authority, Audit: recorder, Clock: s.Now, Log: log,
		Params: signin.Params{MemoryKiB: 64, Passes: 1, Lanes: 1},
	})
	s.users = &provision.Provisioner{
		Directory: s.Directory, Authority: s.Authority, Publisher: publisher, Records: s.store, Subscriptions: subscriptions{}, SignIns: registry, Audit: recorder,
	}
	o := signin.ProviderOptions{
		Issuer: s.url, ClientID: clientID, ClientSecret: "client secret", Name: "Example", CreateUsers: true,
		GroupsClaim: "groups", AdminGroup: "presence-admins", Registry: registry, Users: s.users,
	}
	if change != nil {
		change(&o)
	}
	s.provider = signin.NewProvider(o)
	return s
}

// A visit is a flow up to the provider's answer.
type visit struct {
	flow   signin.Flow
	answer signin.Answer
}

func (s *site) visit(claims map[string]any) visit {
	s.TB.Helper()
	flow, to, err := s.provider.Begin(s.TB.Context(), callback, "/me")
	apptest.Check(s.TB, err)
	u, err := url.Parse(to)
	apptest.Check(s.TB, err)
	q := u.Query()
	if q.Get("code_challenge_method") != "S256" || q.Get("redirect_uri") != callback || q.Get("response_type") != "code" {
		s.TB.Errorf("the request is %v", q)
	}
	code := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grants[code] = grant{claims, q.Get("nonce"), q.Get("code_challenge")}
	return visit{flow, signin.Answer{Code: code, State: q.Get("state"), Issuer: s.url}}
}

func (s *site) finish(v visit) (*signin.SignedIn, error) {
	from := signin.From{Browser: "Firefox", Network: netip.MustParsePrefix("192.0.2.1/32")}
	return s.provider.Finish(s.TB.Context(), callback, &v.flow, &v.answer, &from)
}

func (s *site) signIn(claims map[string]any) (*signin.SignedIn, error) {
	s.TB.Helper()
	return s.finish(s.visit(claims))
}

func (s *site) mustSignIn(claims map[string]any) directory.User {
	s.TB.Helper()
	made, err := s.signIn(claims)
	apptest.Check(s.TB, err)
	if _, err := s.Authority.Authenticate(s.TB.Context(), made.Secret); err != nil {
		s.TB.Errorf("the sign-in is not valid: %v", err)
	}
	return made.User
}

func grace() map[string]any {
	return map[string]any{"sub": "g-1", "email": "grace@example.com", "email_verified": true, "name": "Grace Mensah", "given_name": "Grace", "family_name": "Mensah"}
}

func with(claims map[string]any, more ...any) map[string]any {
	claims = maps.Clone(claims)
	for i := 0; i < len(more); i += 2 {
		name, _ := more[i].(string)
		claims[name] = more[i+1]
	}
	return claims
}

// TestNewPerson: the first sign-in makes a user, and later ones find the same by the
// subject, whatever the address is by then.
func TestNewPerson(t *testing.T) {
	s := newSite(t, nil)
	u := s.mustSignIn(grace())
	if u.Email != "grace@example.com" || u.DisplayName != "Grace Mensah" || u.Role != directory.Member || !u.Active {
		t.Errorf("the user is %+v", u)
	}
	if again := s.mustSignIn(with(grace(), "email", "married@example.com")); again.ID != u.ID {
		t.Error("another user after a change of the address")
	}
	if again := s.mustSignIn(with(grace(), "email_verified", false)); again.ID != u.ID {
		t.Error("another user without a verified address")
	}
}

// TestAddressIsNoProof: an address that is not verified, or that belonged to somebody else,
// gives nobody the user who has it.
func TestAddressIsNoProof(t *testing.T) {
	s := newSite(t, nil)
	for _, unverified := range []any{false, "false", nil, 1, "yes"} {
		if _, err := s.signIn(map[string]any{"sub": "evil", "email": "owner@example.com", "email_verified": unverified}); !errors.Is(err, signin.ErrIdentity) {
			t.Errorf("email_verified %v: %v", unverified, err)
		}
	}
	if _, err := s.signIn(map[string]any{"sub": "evil", "email_verified": true}); !errors.Is(err, signin.ErrIdentity) {
		t.Errorf("without an address: %v", err)
	}
	u := s.mustSignIn(grace())
	if _, err := s.signIn(with(grace(), "sub", "g-2")); !errors.Is(err, signin.ErrIdentity) {
		t.Errorf("another person with the address: %v", err)
	}
	if owner := s.mustSignIn(map[string]any{"sub": "o-1", "email": "Owner@Example.com", "email_verified": "true"}); owner.ID != s.owner.ID {
		t.Error("the verified address does not find the user")
	}
	off := false
	_, err := s.users.Update(t.Context(), &provision.By{Account: s.account}, u.ID, &provision.Change{Active: &off})
	apptest.Check(t, err)
	if _, err := s.signIn(grace()); !errors.Is(err, signin.ErrIdentity) {
		t.Errorf("deactivated: %v", err)
	}
	apptest.Check(t, s.users.Delete(t.Context(), &provision.By{Account: s.account}, u.ID, nil, nil))
	if again := s.mustSignIn(with(grace(), "sub", "g-2")); again.ID == u.ID {
		t.Error("a deleted user signed in")
	}
}

// TestWhoMayCome: only people of the domains, and only users who exist if so set.
func TestWhoMayCome(t *testing.T) {
	s := newSite(t, func(o *signin.ProviderOptions) { o.Domains = []string{"Example.com"} })
	s.mustSignIn(grace())
	for _, email := range []string{"x@example.net", "x@sub.example.com", "x@example.com.evil.example"} {
		if _, err := s.signIn(map[string]any{"sub": email, "email": email, "email_verified": true}); !errors.Is(err, signin.ErrIdentity) {
			t.Errorf("%s: %v", email, err)
		}
	}
	s = newSite(t, func(o *signin.ProviderOptions) { o.CreateUsers = false })
	if _, err := s.signIn(grace()); !errors.Is(err, signin.ErrIdentity) {
		t.Errorf("somebody new: %v", err)
	}
	u := s.User(s.account, "grace@example.com")
	if found := s.mustSignIn(grace()); found.ID != u.ID {
		t.Error("another user")
	}
}

// TestGroups: what the provider gave it takes back; what others gave stays; the owner is
// left alone.
func TestGroups(t *testing.T) {
	s := newSite(t, nil)
	u := s.mustSignIn(with(grace(), "groups", []string{"Support", "presence-admins"}))
	check := func(u directory.User, role directory.Role, groups ...string) {
		t.Helper()
		slices.Sort(u.Groups)
		if u.Role != role || !slices.Equal(u.Groups, groups) {
			t.Errorf("role %s, groups %v; want %s, %v", u.Role, u.Groups, role, groups)
		}
	}
	check(u, directory.Admin, "Support", "presence-admins")
	_, err := s.users.Update(t.Context(), &provision.By{Account: s.account}, u.ID, &provision.Change{Edit: func(u *directory.User) error {
		u.Groups = append(u.Groups, "Choir")
		return nil
	}})
	apptest.Check(t, err)
	check(s.mustSignIn(with(grace(), "groups", "Sales")), directory.Member, "Choir", "Sales")
	check(s.mustSignIn(with(grace(), "_claim_names", map[string]any{"groups": "src1"}, "_claim_sources", map[string]any{"src1": map[string]any{"endpoint": "https://example.com/groups"}})), directory.Member, "Choir", "Sales")
	check(s.mustSignIn(grace()), directory.Member, "Choir")
	owner := map[string]any{"sub": "o-1", "email": "owner@example.com", "email_verified": true, "groups": []string{"presence-admins"}}
	check(s.mustSignIn(owner), directory.Member, "presence-admins")
	check(s.mustSignIn(with(owner, "groups", []string{})), directory.Member)
}

// TestForgedTokens: a token that is not the issuer's for this client and this flow is
// refused.
func TestForgedTokens(t *testing.T) {
	for name, forge := range map[string]func(i *issuer, claims map[string]any, nonce string) string{
		"none": func(i *issuer, claims map[string]any, nonce string) string {
			b64 := base64.RawURLEncoding.EncodeToString
			return b64([]byte(`{"alg":"none"}`)) + "." + b64(i.payload(claims, nonce)) + "."
		},
		"HS256 with the client's secret": func(i *issuer, claims map[string]any, nonce string) string {
			return i.signWith(jose.SigningKey{Algorithm: jose.HS256, Key: []byte("client secret, padded to 32 bytes")}, claims, nonce)
		},
		"HS256 with the public key": func(i *issuer, claims map[string]any, nonce string) string {
			return i.signWith(jose.SigningKey{Algorithm: jose.HS256, Key: i.keys[i.kid].PublicKey.N.Bytes()}, claims, nonce)
		},
		"another key": func(i *issuer, claims map[string]any, nonce string) string {
			key, _ := rsa.GenerateKey(rand.Reader, 2048)
			return i.signWith(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: i.kid}}, claims, nonce)
		},
		"another issuer": func(i *issuer, c map[string]any, n string) string {
			return i.sign(with(c, "iss", "https://evil.example"), n)
		},
		"another audience": func(i *issuer, c map[string]any, n string) string { return i.sign(with(c, "aud", "another"), n) },
		"for several clients": func(i *issuer, c map[string]any, n string) string {
			return i.sign(with(c, "aud", []string{clientID, "another"}), n)
		},
		"authorized for another": func(i *issuer, c map[string]any, n string) string { return i.sign(with(c, "azp", "another"), n) },
		"expired": func(i *issuer, c map[string]any, n string) string {
			return i.sign(with(c, "exp", apptest.Noon().Now().Add(-time.Hour).Unix()), n)
		},
		"another nonce": func(i *issuer, c map[string]any, _ string) string { return i.sign(c, "another") },
		"no nonce":      func(i *issuer, c map[string]any, _ string) string { return i.sign(c, "") },
		"no subject":    func(i *issuer, c map[string]any, n string) string { return i.sign(with(c, "sub", ""), n) },
		"no token":      func(*issuer, map[string]any, string) string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			s.mustSignIn(grace())
			s.mu.Lock()
			s.forge = func(claims map[string]any, nonce string) string { return forge(s.issuer, claims, nonce) }
			s.mu.Unlock()
			if made, err := s.signIn(grace()); !errors.Is(err, signin.ErrFlow) {
				t.Errorf("signed in %v, %v", made, err)
			}
		})
	}
}

// TestForgedAnswers: an answer is for one flow of one browser, from the one provider.
func TestForgedAnswers(t *testing.T) {
	s := newSite(t, nil)
	mine, theirs := s.visit(grace()), s.visit(grace())
	for name, forge := range map[string]func(v *visit){
		"another state":                func(v *visit) { v.answer.State = theirs.answer.State },
		"no state":                     func(v *visit) { v.answer.State, v.flow.State = "", "" },
		"another issuer (mix-up)":      func(v *visit) { v.answer.Issuer = "https://evil.example" },
		"no issuer, which it promises": func(v *visit) { v.answer.Issuer = "" },
		"the code of another flow":     func(v *visit) { v.answer.Code = theirs.answer.Code },
	} {
		v := mine
		forge(&v)
		if _, err := s.finish(v); !errors.Is(err, signin.ErrFlow) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.finish(mine); err != nil {
		t.Error(err)
	}
	if _, err := s.finish(mine); !errors.Is(err, signin.ErrFlow) {
		t.Errorf("again: %v", err)
	}
}

// TestProviderRecovers: keys rotate, and an outage passes.
func TestProviderRecovers(t *testing.T) {
	s := newSite(t, nil)
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	if _, _, err := s.provider.Begin(t.Context(), callback, "/"); !errors.Is(err, signin.ErrProviderDown) {
		t.Errorf("down: %v", err)
	}
	s.mu.Lock()
	s.down = false
	s.mu.Unlock()
	s.Advance(5 * time.Second)
	s.mustSignIn(grace())
	s.rotate("second")
	s.mustSignIn(grace())
}

// TestProviderHangs: while it does not answer, not everybody waits for it in turn.
func TestProviderHangs(t *testing.T) {
	s := newSite(t, nil)
	s.mu.Lock()
	s.down, s.wait = true, func() { s.Advance(10 * time.Second) }
	s.mu.Unlock()
	for range 3 {
		if _, _, err := s.provider.Begin(t.Context(), callback, "/"); !errors.Is(err, signin.ErrProviderDown) {
			t.Errorf("down: %v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked != 1 {
		t.Errorf("the provider was asked %d times", s.asked)
	}
}

// TestThinToken: what the ID token leaves out is asked at the UserInfo endpoint, which must
// be about the same person; what the token says counts first.
func TestThinToken(t *testing.T) {
	s := newSite(t, nil)
	thin := map[string]any{"sub": "g-1", "email_verified": true}
	s.says(grace())
	u := s.mustSignIn(thin)
	if u.Email != "grace@example.com" || u.DisplayName != "Grace Mensah" {
		t.Errorf("the user is %+v", u)
	}
	s.says(with(grace(), "groups", []string{"Support", "presence-admins"}))
	if u := s.mustSignIn(thin); u.Role != directory.Admin || len(u.Groups) != 2 {
		t.Errorf("then %+v", u)
	}
	if u := s.mustSignIn(with(thin, "groups", []string{"Sales"})); u.Role != directory.Member || !slices.Equal(u.Groups, []string{"Sales"}) {
		t.Errorf("with groups in the token %+v", u)
	}
	evil := map[string]any{"sub": "evil", "email_verified": true}
	for name, info := range map[string]map[string]any{
		"not verified":     {"sub": "evil", "email": "owner@example.com", "email_verified": false},
		"silent about it":  {"sub": "evil", "email": "owner@example.com"},
		"without the mail": {"sub": "evil"},
	} {
		s.says(info)
		if _, err := s.signIn(evil); !errors.Is(err, signin.ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.says(map[string]any{"sub": "o-1", "email": "owner@example.com", "email_verified": true})
	if _, err := s.signIn(evil); !errors.Is(err, signin.ErrFlow) {
		t.Errorf("about another person: %v", err)
	}
	s.says(map[string]any{})
	if _, err := s.signIn(evil); !errors.Is(err, signin.ErrProviderDown) {
		t.Errorf("out of order: %v", err)
	}
}
