// Package signage has the links of displays, such as one at an entrance: whoever has a link
// sees the names and statuses of an account, or of one of its groups, without signing in.
//
// It is separate from auth because a link is no credential of the API: it opens this one
// view and nothing else. It guarantees that a view has only the names and statuses of active
// users, as each user's visibility rules show them to everyone, and that a revoked link
// cannot be distinguished from one that never existed. The store has only a digest of a link.
// An account has no links until an administrator makes one.
//
// It must not decide anything about presence, nor limit how often it is asked.
package signage

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"porchlight.dev/porchlight/internal/audit"
	"porchlight.dev/porchlight/internal/cache"
	"porchlight.dev/porchlight/internal/directory"
	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/view"
)

// ErrNoLink: there is no such link, or no longer.
var ErrNoLink = errors.New("there is no such signage link")

// MaxLinks bounds the links of an account.
const MaxLinks = 100

// documents is what the registry needs of a store.
type documents interface {
	Write(ctx context.Context, account presence.AccountID, docs ...store.Doc) error
	Load(ctx context.Context, account presence.AccountID, keys ...store.Key) ([]store.Doc, error)
	List(ctx context.Context, account presence.AccountID, collection, after string, limit int) ([]store.Doc, error)
}

// A Link is one that an administrator made. Its id, which is not secret, names it in lists.
type Link struct {
	ID      string
	Name    string // for administrators
	Group   string // whose members it shows; "": everybody
	Created time.Time
	version string
}

type linkValue struct {
	document.Format

	Name    string    `json:"name"`
	Group   string    `json:"group,omitempty"`
	Created time.Time `json:"created"`
}

const collection = "signage-link"

func keyOf(id string) store.Key { return store.Key{Collection: collection, Key: id} }

func linkOf(doc *store.Doc) (Link, error) {
	var v linkValue
	err := document.Decode(doc, &v)
	return Link{ID: doc.Key.Key, Name: v.Name, Group: v.Group, Created: v.Created, version: doc.Version}, err
}

// Registry makes, lists and revokes links, and shows what is behind them.
type Registry struct {
	docs      documents
	directory *directory.Directory
	views     *view.Reader
	audit     audit.Recorder
	clock     func() time.Time
	shown     *cache.Table[string, *View] // by the id of the link
	reading   singleflight.Group          // by the id of the link
}

// shownSlots is how many links are remembered, for fresh.
const (
	shownSlots  = 256
	fresh       = 2 * time.Second
	readTimeout = 30 * time.Second
)

// Options are what a registry depends on.
type Options struct {
	Store     documents
	Directory *directory.Directory
	Views     *view.Reader
	Audit     audit.Recorder
	Clock     func() time.Time
}

// New makes a registry.
func New(o Options) *Registry {
	return &Registry{
		docs: o.Store, directory: o.Directory, views: o.Views, audit: o.Audit, clock: o.Clock,
		shown: cache.New[string, *View](maphash.MakeSeed(), shownSlots),
	}
}

// An address is what a link's URL ends with: the account and a secret of 256 random bits.
// The id of the link is a digest of the secret.
func newAddress(account presence.AccountID) (address, id string) {
	var raw [32]byte
	rand.Read(raw[:]) // it never fails: the process would end
	secret := base64.RawURLEncoding.EncodeToString(raw[:])
	return string(account) + "." + secret, idOf(secret)
}

func idOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Create makes a link. Only its answer has the address.
func (r *Registry) Create(ctx context.Context, account presence.AccountID, by audit.Actor, name, group string) (link Link, address string, err error) {
	if name, err = cleanName(name); err != nil {
		return link, "", err
	}
	if group, err = directory.GroupName("group", group); err != nil {
		return link, "", err
	}
	links, err := r.List(ctx, account)
	if err != nil {
		return link, "", err
	}
	if len(links) >= MaxLinks {
		return link, "", &directory.LimitError{Name: "signage-links-per-account", Most: MaxLinks, What: "signage links"}
	}
	address, id := newAddress(account)
	link = Link{ID: id, Name: name, Group: group, Created: r.clock().UTC().Truncate(time.Millisecond)}
	doc := document.New(keyOf(id), "", linkValue{document.Current(), link.Name, link.Group, link.Created})
	if err := r.docs.Write(ctx, account, doc); err != nil {
		return link, "", fmt.Errorf("make a signage link: %w", err)
	}
	event := &audit.Event{Action: "signage-link.create", Target: "signage-link/" + id, By: by, After: audit.Fields{"name": name, "group": group}}
	return link, address, r.audit.Record(ctx, account, event)
}

// maxName bounds the name of a link, in bytes.
const maxName = 100

func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", &presence.FieldError{Field: "name", Reason: fmt.Sprintf("must be 1 to %d bytes of text in one line", maxName)}
	}
	return name, nil
}

// List is the links of an account, the oldest first.
func (r *Registry) List(ctx context.Context, account presence.AccountID) ([]Link, error) {
	docs, err := r.docs.List(ctx, account, collection, "", MaxLinks)
	if err != nil {
		return nil, fmt.Errorf("list signage links: %w", err)
	}
	links, err := document.All(docs, linkOf)
	slices.SortFunc(links, func(a, b Link) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) })
	return links, err
}

// Revoke ends a link at once: the document of a link is read whenever it is used.
func (r *Registry) Revoke(ctx context.Context, account presence.AccountID, by audit.Actor, id string) error {
	link, err := r.link(ctx, account, id)
	if err != nil {
		return err
	}
	doc := store.Doc{Key: keyOf(id), Version: link.version}
	if err := r.docs.Write(ctx, account, document.Deletion(&doc)); err != nil {
		return fmt.Errorf("revoke a signage link: %w", err)
	}
	event := &audit.Event{Action: "signage-link.revoke", Target: "signage-link/" + id, By: by, Before: audit.Fields{"name": link.Name, "group": link.Group}}
	return r.audit.Record(ctx, account, event)
}

func (r *Registry) link(ctx context.Context, account presence.AccountID, id string) (Link, error) {
	if presence.CheckID("id", id) != nil {
		return Link{}, ErrNoLink
	}
	docs, err := r.docs.Load(ctx, account, keyOf(id))
	if err != nil {
		return Link{}, fmt.Errorf("read a signage link: %w", err)
	}
	if len(docs) == 0 {
		return Link{}, ErrNoLink
	}
	return linkOf(&docs[0])
}
