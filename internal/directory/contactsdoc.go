package directory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"porchlight.dev/porchlight/internal/document"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
)

// A contactsValue is packed, because it must hold a thousand contacts and is
// read by every follower again and again: items end with commas, their parts are
// separated by spaces, and numbers are of base 36.
type contactsValue struct {
	document.Format
	Gen      uint64   `json:"gen"`
	Groups   []string `json:"groups,omitempty"`
	Contacts string   `json:"contacts,omitempty"` // id, gen, added (Unix milliseconds), number of the group from 1 or 0
	Ended    string   `json:"ended,omitempty"`    // id, gen
	Pruned   uint64   `json:"pruned,omitempty"`
}

const packBase = 36

func contactsKey(owner presence.UserID) store.Key {
	return store.Key{Collection: "contacts", Key: string(owner)}
}

// doc is the document to write over that of c.Version.
func (c *Contacts) doc(owner presence.UserID) store.Doc {
	v := contactsValue{Format: document.Current(), Gen: c.Gen, Groups: c.groups(), Pruned: c.Pruned}
	var b []byte
	for i := range c.List {
		x := &c.List[i]
		group, found := slices.BinarySearch(v.Groups, x.Group)
		if found {
			group++
		} else {
			group = 0
		}
		b = pack(b, x.User, x.Gen, uint64(x.Added.UnixMilli()), uint64(group))
	}
	v.Contacts = string(b)
	b = b[:0]
	for _, x := range c.Removed {
		b = pack(b, x.User, x.Gen)
	}
	v.Ended = string(b)
	return document.New(contactsKey(owner), c.Version, v)
}

func contactsOf(doc *store.Doc) (Contacts, error) {
	var v contactsValue
	if err := document.Decode(doc, &v); err != nil {
		return Contacts{}, err
	}
	c := Contacts{Gen: v.Gen, Pruned: v.Pruned, Version: doc.Version}
	c.List = make([]Contact, 0, strings.Count(v.Contacts, ","))
	c.Removed = make([]RemovedContact, 0, strings.Count(v.Ended, ","))
	var numbers [3]uint64
	for item := range strings.SplitAfterSeq(v.Contacts, ",") {
		id, err := unpack(item, numbers[:])
		if err != nil || numbers[2] > uint64(len(v.Groups)) {
			return Contacts{}, damaged(doc, item)
		}
		if id == "" {
			break
		}
		contact := Contact{User: id, Gen: numbers[0], Added: time.UnixMilli(int64(numbers[1])).UTC()}
		if numbers[2] > 0 {
			contact.Group = v.Groups[numbers[2]-1]
		}
		c.List = append(c.List, contact)
	}
	for item := range strings.SplitAfterSeq(v.Ended, ",") {
		id, err := unpack(item, numbers[:1])
		if err != nil {
			return Contacts{}, damaged(doc, item)
		}
		if id == "" {
			break
		}
		c.Removed = append(c.Removed, RemovedContact{id, numbers[0]})
	}
	return c, nil
}

func damaged(doc *store.Doc, item string) error {
	return fmt.Errorf("a document of %q is damaged at %q", doc.Collection, item)
}

// pack appends an item. Users of the directory have ids without spaces and
// commas.
func pack(b []byte, id presence.UserID, numbers ...uint64) []byte {
	b = append(b, id...)
	for _, n := range numbers {
		b = strconv.AppendUint(append(b, ' '), n, packBase)
	}
	return append(b, ',')
}

// unpack reads an item with its comma; "" marks the end of the items.
func unpack(item string, numbers []uint64) (presence.UserID, error) {
	if item == "" {
		return "", nil
	}
	text, whole := strings.CutSuffix(item, ",")
	id, rest, _ := strings.Cut(text, " ")
	for i := range numbers {
		var number string
		number, rest, _ = strings.Cut(rest, " ")
		n, err := strconv.ParseUint(number, packBase, 64)
		if err != nil {
			return "", err
		}
		numbers[i] = n
	}
	if id == "" || rest != "" || !whole {
		return "", strconv.ErrSyntax
	}
	return presence.UserID(id), nil
}
