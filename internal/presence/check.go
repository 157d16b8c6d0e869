package presence

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check refuses an event that could be right for no user at no time, with a
// *FieldError or a *LimitError. Apply does so too; asking first keeps such an event from being
// answered by something that depends on whom it is about.
func Check(e Event) error {
	switch e := e.(type) {
	case SignIn:
		return checkSignIn(&e)
	case Refresh:
		_, err := leaseOf(e.Lease, DefaultLease)
		return err
	case SetClaim:
		return checkClaim(&e)
	case SetNote:
		return checkSetNote(&e)
	case SetVisibility:
		return checkRules(&e)
	default:
		return nil
	}
}

// checkClaim refuses what no claim may be, whatever the state. The note becomes what
// is kept.
func checkClaim(e *SetClaim) error {
	if err := CheckID("id", string(e.ID)); err != nil {
		return err
	}
	if err := checkWord("source", string(e.Source)); err != nil {
		return err
	}
	switch {
	case (e.ID == ManualClaim) != (e.Source == Manual):
		return &FieldError{Field: "source", Reason: `must be "manual" for the claim "manual", and for no other`}
	case !e.Status.Valid() || e.Status == Offline:
		return &FieldError{Field: "status", Reason: "cannot be claimed: sign out, or hide by visibility"}
	case e.Status == Available && e.Source != Manual:
		return &FieldError{Field: "status", Reason: "can be available in the claim \"manual\" only"}
	case e.Lasts < 0:
		return &FieldError{Field: "duration_seconds", Reason: "must be positive"}
	case e.Lasts > MaxClaimLasts:
		return &FieldError{Field: "duration_seconds", Reason: "must be at most 31622400 (366 days)"}
	case e.Lasts > 0 && e.Lasts < MinDoNotDisturb && e.Status == DoNotDisturb:
		return &FieldError{Field: "duration_seconds", Reason: "must be at least 60 for do_not_disturb"}
	case e.Lasts > 0 && !e.Until.IsZero():
		return &FieldError{Field: "until", Reason: "cannot be given together with duration_seconds"}
	}
	if err := checkInstant("since", e.Since); err != nil {
		return err
	}
	if err := checkInstant("until", e.Until); err != nil {
		return err
	}
	var err error
	e.Note, err = noteOf("note", e.Note)
	return err
}

func checkSignIn(e *SignIn) error {
	if err := CheckID("session", string(e.Session)); err != nil {
		return err
	}
	if err := checkWord("client_type", string(e.Client)); err != nil {
		return err
	}
	if _, err := leaseOf(e.Lease, DefaultLease); err != nil {
		return err
	}
	var err error
	e.Version, err = versionOf(e.Version)
	return err
}

func leaseOf(asked, otherwise time.Duration) (time.Duration, error) {
	if asked == 0 {
		return otherwise, nil
	}
	if asked < MinLease || asked > MaxLease {
		return 0, &FieldError{Field: "lease_seconds", Reason: "must be between 30 and 3600"}
	}
	return asked, nil
}

// CheckID refuses an id that cannot be one: it has 1 to 128 bytes of printable
// UTF-8. The error is a *FieldError for field.
func CheckID(field, id string) error {
	if id == "" || len(id) > MaxIDBytes || !printable(id) {
		return &FieldError{Field: field, Reason: "must be 1 to 128 bytes of printable text"}
	}
	return nil
}

// checkWord refuses what is not a short lower-case word.
func checkWord(field, word string) error {
	if word == "" {
		return &FieldError{Field: field, Reason: "is required"}
	}
	ok := len(word) <= 32 && isLetter(word[0])
	for i := range len(word) {
		c := word[i]
		ok = ok && (isLetter(c) || '0' <= c && c <= '9' || c == '_' || c == '-')
	}
	if !ok {
		return &FieldError{Field: field, Reason: "must be a word of at most 32 lower-case letters, digits, _ and -"}
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func checkSetNote(e *SetNote) error {
	if err := checkInstant("until", e.Until); err != nil {
		return err
	}
	var err error
	e.Text, err = noteOf("text", e.Text)
	return err
}

func checkRules(e *SetVisibility) error {
	if !e.Everyone.Valid() {
		return &FieldError{Field: "everyone", Reason: "must be a level of visibility"}
	}
	if len(e.Watchers) > MaxRules {
		return &LimitError{What: "visibility rules of watchers", Limit: MaxRules}
	}
	for user, level := range e.Watchers {
		if err := CheckID("watchers", string(user)); err != nil {
			return err
		}
		if !level.Valid() {
			return &FieldError{Field: "watchers", Reason: "must each have a level of visibility"}
		}
	}
	return nil
}

// noteOf is a note as it is kept.
func noteOf(field, text string) (string, error) {
	note, err := Text(field, text)
	if err == nil && utf8.RuneCountInString(note) > MaxNoteRunes {
		err = &FieldError{Field: field, Reason: "must be at most 280 characters"}
	}
	return note, err
}

// versionOf is the version of a client as it is kept.
func versionOf(text string) (string, error) {
	version, err := Text("client_version", text)
	if err == nil && len(version) > maxVersionBytes {
		err = &FieldError{Field: "client_version", Reason: "must be at most 64 bytes"}
	}
	return version, err
}

const maxVersionBytes = 64

// lastInstant is the last that RFC 3339 can write.
const lastInstant Instant = 253402300799 * 1e6

// checkInstant refuses years that a record cannot keep.
func checkInstant(field string, t Instant) error {
	if t < 0 || t > lastInstant {
		return &FieldError{Field: field, Reason: "must be a time between 1970 and 9999"}
	}
	return nil
}

func printable(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' })
}
