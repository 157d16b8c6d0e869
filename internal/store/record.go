package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"porchlight.dev/porchlight/internal/presence"
)

// The binary forms of a state and of a log entry, which all backends share. The first
// byte is the format. It is followed by uvarints, length-prefixed text, and instants as
// microseconds relative to the commit's instant, so that they are short.
//
// A changed form gets a new format byte, and the decoder of the old one stays: formats
// are append only.
const (
	plainFormat  byte = 1 // a state without rules of visibility
	ruledFormat  byte = 2 // a state with rules of visibility
	originFormat byte = 3 // adds the apps of sessions, claims and answers, and replaced sessions
	holderFormat byte = 4 // adds the holders of sessions
	stateFormat       = holderFormat

	plainEntry  byte = 1 // an entry with the presence before and after
	originEntry byte = 2 // adds the origin and the user's facts; an entry may be erased
	eventEntry  byte = 3 // adds sessions that began and ended, and profiles
	entryFormat      = eventEntry
)

// ErrFormat: stored bytes are damaged or have a format that this version does not know.
var ErrFormat = errors.New("stored bytes cannot be read")

// AppendState appends the binary form of s.
func AppendState(dst []byte, s *presence.State) []byte {
	dst = append(dst, stateFormat)
	dst = binary.AppendUvarint(dst, uint64(s.Revision))
	dst = appendInstant(dst, s.At, 0)
	base := s.At
	dst = append(dst, byte(s.Shown.Status), byte(s.UserState))
	dst = appendInstant(dst, s.Shown.Since, base)
	dst = appendRevision(dst, s.Shown.StatusRevision, s.Revision)
	dst = appendRevision(dst, s.Shown.Revision, s.Revision)
	dst = appendInstant(dst, s.AvailableAt, base)
	dst = appendInstant(dst, s.UpdatedAt, base)
	dst = appendInstant(dst, s.DampedSince, base)
	dst = appendText(dst, s.Note.Text)
	dst = appendInstant(dst, s.Note.Until, base)
	dst = appendSessions(dst, s.Sessions, base)
	dst = appendReplaced(dst, s.Replaced, base)
	dst = appendClaims(dst, s.Claims, base)
	dst = appendAnswers(dst, s.Answers, s.Revision, base)
	return appendRules(dst, s.Rules, s.Revision, base)
}

// appendRules appends a flag that says whether there are rules, and the rules.
func appendRules(dst []byte, rules *presence.VisibilityRules, revision presence.Revision, base presence.Instant) []byte {
	dst = append(dst, bit(rules != nil, 1))
	if rules == nil {
		return dst
	}
	dst = appendRule(dst, &rules.Everyone, revision, base)
	dst = binary.AppendUvarint(dst, uint64(len(rules.Watchers)))
	for i := range rules.Watchers {
		w := &rules.Watchers[i]
		dst = appendText(dst, w.User)
		dst = appendRule(dst, &w.VisibilityRule, revision, base)
	}
	return dst
}

// The header of a rule is its visibility and flags of the fields that follow: most rules
// have none, and there may be a thousand.
const (
	visibilityBits = 0x03
	sinceBit       = 0x04
	revisionBit    = 0x08
	liftedBit      = 0x10
	defaultBit     = 0x20
	ruleBits       = 0x3f
)

func appendRule(dst []byte, r *presence.VisibilityRule, revision presence.Revision, base presence.Instant) []byte {
	head := byte(r.Visibility) | bit(r.Since != 0, sinceBit) | bit(r.Revision != 0, revisionBit) |
		bit(r.LiftedRevision != 0, liftedBit) | bit(r.Default, defaultBit)
	dst = append(dst, head)
	if r.Since != 0 {
		dst = appendInstant(dst, r.Since, base)
	}
	if r.Revision != 0 {
		dst = appendRevision(dst, r.Revision, revision)
	}
	if r.LiftedRevision != 0 {
		dst = appendRevision(dst, r.LiftedRevision, revision)
	}
	return dst
}

// bit is b if on, else zero.
func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

func appendSessions(dst []byte, sessions []presence.Session, base presence.Instant) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(sessions)))
	for i := range sessions {
		x := &sessions[i]
		dst = appendText(dst, x.ID)
		dst = appendText(dst, x.Client)
		dst = appendText(dst, x.Version)
		dst = appendText(dst, x.App)
		dst = appendText(dst, x.Via)
		dst = appendInstant(dst, x.Since, base)
		dst = appendInstant(dst, x.IdleAt, base)
		dst = appendInstant(dst, x.EndsAt, base)
		dst = binary.AppendVarint(dst, int64(x.Lease))
		dst = appendText(dst, x.Holder)
	}
	return dst
}

func appendReplaced(dst []byte, replaced []presence.Replaced, base presence.Instant) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(replaced)))
	for i := range replaced {
		dst = appendText(dst, replaced[i].ID)
		dst = appendInstant(dst, replaced[i].EndsAt, base)
	}
	return dst
}

func appendClaims(dst []byte, claims []presence.Claim, base presence.Instant) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(claims)))
	for i := range claims {
		c := &claims[i]
		dst = append(dst, byte(c.Status))
		dst = appendText(dst, c.ID)
		dst = appendText(dst, c.Source)
		dst = appendText(dst, c.Note)
		dst = appendText(dst, c.App)
		dst = appendText(dst, c.Via)
		dst = appendInstant(dst, c.Since, base)
		dst = appendInstant(dst, c.Until, base)
	}
	return dst
}

func appendAnswers(dst []byte, answers []presence.Answer, revision presence.Revision, base presence.Instant) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(answers)))
	for i := range answers {
		a := &answers[i]
		dst = appendText(dst, a.App)
		dst = append(dst, a.Key[:]...)
		dst = append(dst, a.Body[:]...)
		dst = appendInstant(dst, a.At, base)
		dst = appendRevision(dst, a.Revision, revision)
		dst = appendText(dst, a.Result)
	}
	return dst
}

// DecodeState decodes the output of AppendState; any other bytes are ErrFormat. The
// result does not reference data.
func DecodeState(data []byte) (presence.State, error) {
	d := newDecoder(data, "state", stateFormat)
	var s presence.State
	s.Revision = presence.Revision(d.uvarint())
	s.At = d.instant(0)
	base := s.At
	s.Shown.Status = d.status()
	s.UserState = presence.UserState(d.byte())
	s.Shown.Since = d.instant(base)
	s.Shown.StatusRevision = d.revision(s.Revision)
	s.Shown.Revision = d.revision(s.Revision)
	s.AvailableAt = d.instant(base)
	s.UpdatedAt = d.instant(base)
	s.DampedSince = d.instant(base)
	s.Note.Text = d.text()
	s.Note.Until = d.instant(base)
	s.Sessions = d.sessions(base)
	s.Replaced = d.replaced(base)
	s.Claims = d.claims(base)
	s.Answers = d.answers(s.Revision, base)
	if d.hasRules() {
		s.Rules = d.rules(s.Revision, base)
	}
	if err := d.end(); err != nil {
		return presence.State{}, err
	}
	return s, nil
}

// AppendEntry appends the binary form of e without At and Gap, which the engine sets
// when it reads the entry.
func AppendEntry(dst []byte, e *Entry) []byte {
	dst = append(dst, entryFormat)
	dst = appendText(dst, e.User.Account)
	dst = appendText(dst, e.User.ID)
	dst = binary.AppendUvarint(dst, uint64(e.Revision))
	base := presence.InstantOf(e.Time)
	dst = appendInstant(dst, base, 0)
	o := &e.Origin
	hasClaim, hasClient := o.Claim != "" || o.Source != "", o.Client != presence.Client{}
	if e.Erased {
		return append(dst, byte(e.By.Cause), erasedBit)
	}
	hasSessions := len(e.Began)+len(e.Ended) > 0
	dst = append(dst, byte(e.By.Cause), bit(hasClaim, claimBit)|bit(hasClient, clientBit)|bit(e.UserBefore.Note != e.UserAfter.Note, noteBit)|
		bit(hasSessions, sessionsBit)|bit(e.Profile != nil, profileBit)|bit(e.ProfileBefore != nil, profileBeforeBit))
	dst = appendText(dst, e.By.Actor.User)
	dst = appendText(dst, e.By.Actor.App)
	dst = appendPresence(dst, &e.Before, e.Revision, base)
	dst = appendPresence(dst, &e.After, e.Revision, base)
	if hasClaim {
		dst = appendText(dst, o.Claim)
		dst = appendText(dst, o.Source)
	}
	if hasClient {
		dst = appendText(dst, o.Client.Type)
		dst = appendText(dst, o.Client.Version)
		dst = append(dst, byte(o.Client.Status))
	}
	dst = appendFacts(dst, &e.UserBefore, &e.UserAfter)
	if hasSessions {
		dst = appendSessionFacts(appendSessionFacts(dst, e.Began), e.Ended)
	}
	return appendProfile(appendProfile(dst, e.Profile), e.ProfileBefore)
}

// The header of an entry flags the parts that follow.
const (
	erasedBit = 0x01 // no parts
	claimBit  = 0x02
	clientBit = 0x04
	noteBit   = 0x08 // the user's own note changed, and the new one follows the old one
	// Since eventEntry.
	sessionsBit      = 0x10
	profileBit       = 0x20
	profileBeforeBit = 0x40

	originBits = 0x0f
	entryBits  = 0x7f
)

func appendSessionFacts(dst []byte, sessions []SessionFacts) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(sessions)))
	for i := range sessions {
		s := &sessions[i]
		dst = appendText(appendText(appendText(appendText(dst, s.ID), s.Client), s.Version), s.App)
	}
	return dst
}

// appendProfile appends nothing for nil.
func appendProfile(dst []byte, p *presence.Profile) []byte {
	if p == nil {
		return dst
	}
	for _, text := range [...]string{p.Email, p.FirstName, p.LastName, p.DisplayName, p.Department} {
		dst = appendText(dst, text)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Groups)))
	for _, group := range p.Groups {
		dst = appendText(dst, group)
	}
	return dst
}

func appendFacts(dst []byte, before, after *UserFacts) []byte {
	dst = append(dst, byte(before.State), byte(after.State))
	dst = appendText(dst, before.Note)
	if before.Note != after.Note {
		dst = appendText(dst, after.Note)
	}
	return dst
}

const (
	handheldBit = 0x80
	activeBit   = 0x40
)

func appendPresence(dst []byte, p *presence.Presence, revision presence.Revision, base presence.Instant) []byte {
	head := byte(p.Status)
	if p.Handheld {
		head |= handheldBit
	}
	if p.Active {
		head |= activeBit
	}
	dst = append(dst, head)
	dst = appendText(dst, p.Note)
	dst = appendInstant(dst, p.Since, base)
	dst = appendInstant(dst, p.Until, base)
	dst = appendRevision(dst, p.Revision, revision)
	return appendRevision(dst, p.StatusRevision, revision)
}

// DecodeEntry decodes the output of AppendEntry; any other bytes are ErrFormat. The
// result does not reference data.
func DecodeEntry(data []byte) (Entry, error) {
	d := newDecoder(data, "log entry", entryFormat)
	var e Entry
	e.User.Account = presence.AccountID(d.text())
	e.User.ID = presence.UserID(d.text())
	e.Revision = presence.Revision(d.uvarint())
	base := d.instant(0)
	e.Time = base.Time()
	e.By.Cause = Cause(d.byte())
	head := d.entryHead()
	if e.Erased = head&erasedBit != 0; !e.Erased {
		d.entryParts(head, &e, base)
	}
	if err := d.end(); err != nil {
		return Entry{}, err
	}
	return e, nil
}

// entryHead reads the flags of the parts that follow. Format 1 has no flags.
func (d *decoder) entryHead() byte {
	if d.format < originEntry {
		return 0
	}
	head, known := d.byte(), byte(entryBits)
	if d.format < eventEntry {
		known = originBits
	}
	if head&^known != 0 || head&erasedBit != 0 && head != erasedBit {
		d.fail("unknown part")
	}
	return head
}

// entryParts reads the parts of an entry that was not erased.
func (d *decoder) entryParts(head byte, e *Entry, base presence.Instant) {
	e.By.Actor.User = presence.UserID(d.text())
	e.By.Actor.App = presence.AppID(d.text())
	e.Before = d.presence(e.Revision, base)
	e.After = d.presence(e.Revision, base)
	if head&claimBit != 0 {
		e.Origin.Claim, e.Origin.Source = presence.ClaimID(d.text()), presence.Source(d.text())
	}
	if head&clientBit != 0 {
		e.Origin.Client = presence.Client{Type: presence.ClientType(d.text()), Version: d.text(), Status: d.status()}
	}
	d.facts(head, e)
	if head&sessionsBit != 0 {
		e.Began, e.Ended = d.sessionFacts(), d.sessionFacts()
	}
	if head&profileBit != 0 {
		e.Profile = d.profile()
	}
	if head&profileBeforeBit != 0 {
		e.ProfileBefore = d.profile()
	}
}

func (d *decoder) sessionFacts() []SessionFacts {
	n := d.count(minSessionFacts)
	if n == 0 {
		return nil
	}
	sessions := make([]SessionFacts, n)
	for i := range sessions {
		sessions[i] = SessionFacts{
			ID: presence.SessionID(d.text()), Client: presence.ClientType(d.text()), Version: d.text(), App: presence.AppID(d.text()),
		}
	}
	return sessions
}

func (d *decoder) profile() *presence.Profile {
	p := &presence.Profile{Email: d.text(), FirstName: d.text(), LastName: d.text(), DisplayName: d.text(), Department: d.text()}
	if n := d.count(minText); n > 0 {
		p.Groups = make([]string, n)
		for i := range p.Groups {
			p.Groups[i] = d.text()
		}
	}
	return p
}

func (d *decoder) facts(head byte, e *Entry) {
	if d.format < originEntry {
		return
	}
	e.UserBefore.State, e.UserAfter.State = presence.UserState(d.byte()), presence.UserState(d.byte())
	e.UserBefore.Note = d.text()
	e.UserAfter.Note = e.UserBefore.Note
	if head&noteBit != 0 {
		e.UserAfter.Note = d.text()
	}
}

func appendText[T ~string](dst []byte, text T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
}

// appendInstant appends the microseconds from base to t; zero means no instant.
func appendInstant(dst []byte, t, base presence.Instant) []byte {
	if t.IsZero() {
		return append(dst, 0)
	}
	return binary.AppendUvarint(dst, zigzag(int64(t-base))+1)
}

// appendRevision appends the distance from r to the commit's revision, which is mostly
// zero.
func appendRevision(dst []byte, r, commit presence.Revision) []byte {
	return binary.AppendUvarint(dst, uint64(commit-r))
}

func zigzag(n int64) uint64   { return uint64(n<<1) ^ uint64(n>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// A decoder decodes one value. The first error sets err, and later reads give zero.
// Decoded text shares one copy of the input.
type decoder struct {
	rest   string
	what   string
	format byte
	err    error
}

// newDecoder reads the format byte, which must not exceed newest.
func newDecoder(data []byte, what string, newest byte) *decoder {
	d := &decoder{rest: string(data), what: what}
	d.format = d.byte()
	if d.err == nil && (d.format == 0 || d.format > newest) {
		d.err = fmt.Errorf("%w: %s has format %d, and this porchlight knows formats up to %d", ErrFormat, what, d.format, newest)
	}
	return d
}

func (d *decoder) fail(reason string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s: %s", ErrFormat, d.what, reason)
	}
	d.rest = ""
}

func (d *decoder) end() error {
	if d.rest != "" {
		d.fail("trailing bytes")
	}
	return d.err
}

func (d *decoder) byte() byte {
	if d.rest == "" {
		d.fail("truncated")
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	var u uint64
	for i := 0; i < len(d.rest) && i < binary.MaxVarintLen64; i++ {
		b := d.rest[i]
		if i == binary.MaxVarintLen64-1 && b > 1 {
			break
		}
		u |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			d.rest = d.rest[i+1:]
			return u
		}
	}
	d.fail("invalid number")
	return 0
}

func (d *decoder) text() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail("text exceeds the data")
		return ""
	}
	text := d.rest[:n]
	d.rest = d.rest[n:]
	return text
}

func (d *decoder) instant(base presence.Instant) presence.Instant {
	u := d.uvarint()
	if u == 0 {
		return 0
	}
	return base + presence.Instant(unzigzag(u-1))
}

func (d *decoder) revision(commit presence.Revision) presence.Revision {
	return commit - presence.Revision(d.uvarint())
}

func (d *decoder) status() presence.Status {
	s := presence.Status(d.byte())
	if !s.Valid() {
		d.fail("unknown status")
		return presence.Offline
	}
	return s
}

// count reads the length of a list whose elements take at least size bytes each, so
// that the data bound what is allocated.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/size) {
		d.fail("list exceeds the data")
		return 0
	}
	return int(n)
}

const (
	minSession  = 8  // bytes: one for each field of the oldest format
	minReplaced = 2  // likewise
	minClaim    = 7  // likewise
	minAnswer   = 35 // two digests and three fields
	minRule     = 2  // the user's length and the head
	minText     = 1  // its length

	minSessionFacts = 4 // four texts
)

func (d *decoder) sessions(base presence.Instant) []presence.Session {
	n := d.count(minSession)
	if n == 0 {
		return nil
	}
	sessions := make([]presence.Session, n)
	for i := range sessions {
		x := &sessions[i]
		x.ID = presence.SessionID(d.text())
		x.Client = presence.ClientType(d.text())
		x.Version = d.text()
		x.App = presence.AppID(d.text())
		x.Via = d.origin()
		x.Since = d.instant(base)
		x.IdleAt = d.instant(base)
		x.EndsAt = d.instant(base)
		x.Lease = time.Duration(unzigzag(d.uvarint()))
		x.Holder = d.holder()
	}
	return sessions
}

// holder reads the holder of a session, which formats before holderFormat lack.
func (d *decoder) holder() string {
	if d.format < holderFormat {
		return ""
	}
	return d.text()
}

// origin reads an app, which formats before originFormat lack.
func (d *decoder) origin() presence.AppID {
	if d.format < originFormat {
		return ""
	}
	return presence.AppID(d.text())
}

func (d *decoder) replaced(base presence.Instant) []presence.Replaced {
	if d.format < originFormat {
		return nil
	}
	n := d.count(minReplaced)
	if n == 0 {
		return nil
	}
	replaced := make([]presence.Replaced, n)
	for i := range replaced {
		replaced[i] = presence.Replaced{ID: presence.SessionID(d.text()), EndsAt: d.instant(base)}
	}
	return replaced
}

// hasRules reports whether rules follow: a flag says so since originFormat, and the
// format itself before.
func (d *decoder) hasRules() bool {
	if d.format < originFormat {
		return d.format == ruledFormat
	}
	has := d.byte()
	if has > 1 {
		d.fail("invalid flag for rules")
	}
	return has == 1
}

func (d *decoder) claims(base presence.Instant) []presence.Claim {
	n := d.count(minClaim)
	if n == 0 {
		return nil
	}
	claims := make([]presence.Claim, n)
	for i := range claims {
		c := &claims[i]
		c.Status = d.status()
		c.ID = presence.ClaimID(d.text())
		c.Source = presence.Source(d.text())
		c.Note = d.text()
		c.App = presence.AppID(d.text())
		c.Via = d.origin()
		c.Since = d.instant(base)
		c.Until = d.instant(base)
	}
	return claims
}

func (d *decoder) answers(revision presence.Revision, base presence.Instant) []presence.Answer {
	n := d.count(minAnswer)
	if n == 0 {
		return nil
	}
	answers := make([]presence.Answer, n)
	for i := range answers {
		a := &answers[i]
		a.App = d.origin()
		d.digest(&a.Key)
		d.digest(&a.Body)
		a.At = d.instant(base)
		a.Revision = d.revision(revision)
		a.Result = d.text()
	}
	return answers
}

func (d *decoder) rules(revision presence.Revision, base presence.Instant) *presence.VisibilityRules {
	rules := &presence.VisibilityRules{Everyone: d.rule(revision, base)}
	n := d.count(minRule)
	if n == 0 {
		return rules
	}
	rules.Watchers = make([]presence.WatcherRule, n)
	for i := range rules.Watchers {
		w := &rules.Watchers[i]
		w.User = presence.UserID(d.text())
		w.VisibilityRule = d.rule(revision, base)
	}
	return rules
}

func (d *decoder) rule(revision presence.Revision, base presence.Instant) presence.VisibilityRule {
	head := d.byte()
	r := presence.VisibilityRule{Visibility: presence.Visibility(head & visibilityBits), Default: head&defaultBit != 0}
	if !r.Visibility.Valid() || head&^ruleBits != 0 {
		d.fail("unknown rule")
	}
	if head&sinceBit != 0 {
		r.Since = d.instant(base)
	}
	if head&revisionBit != 0 {
		r.Revision = d.revision(revision)
	}
	if head&liftedBit != 0 {
		r.LiftedRevision = d.revision(revision)
	}
	return r
}

func (d *decoder) digest(to *[16]byte) {
	if n := copy(to[:], d.rest); n < len(to) {
		d.fail("truncated")
		return
	}
	d.rest = d.rest[len(to):]
}

func (d *decoder) presence(revision presence.Revision, base presence.Instant) presence.Presence {
	head := d.byte()
	p := presence.Presence{
		Status:   presence.Status(head &^ (handheldBit | activeBit)),
		Handheld: head&handheldBit != 0,
		Active:   head&activeBit != 0,
	}
	if !p.Status.Valid() {
		d.fail("unknown status")
	}
	p.Note = d.text()
	p.Since = d.instant(base)
	p.Until = d.instant(base)
	p.Revision = d.revision(revision)
	p.StatusRevision = d.revision(revision)
	return p
}
