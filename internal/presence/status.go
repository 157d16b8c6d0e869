package presence

import "fmt"

// A Status is one of the ten words for a user's availability. The zero value is
// Offline. Numbers are stored: append only.
type Status uint8

// The statuses, in the native spelling of [Status.String].
const (
	Offline Status = iota
	Available
	Away
	Busy
	DoNotDisturb
	InCalendarEvent
	InMeeting
	Presenting
	OnCall
	OutOfOffice
	statusCount
)

var statusNames = [statusCount]string{
	"offline", "available", "away", "busy", "do_not_disturb",
	"in_calendar_event", "in_meeting", "presenting", "on_call", "out_of_office",
}

// Statuses lists every status, in the order of their constants.
func Statuses() []Status {
	all := make([]Status, statusCount)
	for i := range all {
		all[i] = Status(i)
	}
	return all
}

// ParseStatus reads the native spelling; ok is false for any other text.
func ParseStatus(text string) (s Status, ok bool) {
	for i, name := range statusNames {
		if name == text {
			return Status(i), true
		}
	}
	return Offline, false
}

// Valid reports whether s is one of the ten statuses.
func (s Status) Valid() bool { return s < statusCount }

// meeting reports whether somebody is in a meeting or a call.
func (s Status) meeting() bool { return s == InMeeting || s == Presenting || s == OnCall }

// String is the native spelling, as in "do_not_disturb".
func (s Status) String() string {
	if !s.Valid() {
		return fmt.Sprintf("status(%d)", uint8(s))
	}
	return statusNames[s]
}

// MarshalText writes the native spelling.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the native spelling and refuses any other.
func (s *Status) UnmarshalText(text []byte) error {
	parsed, ok := ParseStatus(string(text))
	if !ok {
		return fmt.Errorf("%q is not a status", text)
	}
	*s = parsed
	return nil
}
