package zoomapi

import "porchlight.dev/porchlight/internal/presence"

// accepted are the words of an update. Zoom's documentation spells some statuses in
// several ways, all of which are accepted, case-sensitively. "Offline" and
// "Mobile_signed_in" are only shown, and cannot be set.
var accepted = map[string]presence.Status{
	"Available": presence.Available,
	"Away":      presence.Away,
	"Busy":      presence.Busy,

	"Do_No_Disturb":  presence.DoNotDisturb, // the enumeration
	"Do_Not_Disturb": presence.DoNotDisturb, // the prose
	"Do-Not_Disturb": presence.DoNotDisturb, // the prose of the workflow task
	"Do_Not-Disturb": presence.DoNotDisturb,

	"In_Calendar_Event":   presence.InCalendarEvent,
	"In_A_Calendar_Event": presence.InCalendarEvent, // the word of GET

	"In_A_Zoom_Meeting": presence.InMeeting,
	"In_A_Meeting":      presence.InMeeting, // the word of GET
	"In_Meeting":        presence.InMeeting, // the word of webhooks

	"On_A_Call":     presence.OnCall,
	"In_A_Call":     presence.OnCall, // the word of GET
	"On_Phone_Call": presence.OnCall, // the word of webhooks

	"Presenting":    presence.Presenting,
	"Out_of_Office": presence.OutOfOffice,
}

// ClientVersions is Zoom's rule for old clients: 5.3.0 is the first that may leave
// do-not-disturb and choose between available and away. Older ones may only go from
// these two to do-not-disturb.
func ClientVersions() presence.ClientVersionRule {
	return presence.ClientVersionRule{
		Since:   presence.Version{5, 3, 0},
		Allowed: []presence.Transition{{From: presence.Away, To: presence.DoNotDisturb}, {From: presence.Available, To: presence.DoNotDisturb}},
	}
}

// words are the words of GET and of a single contact.
var words = [...]string{
	presence.Offline:         "Offline",
	presence.Available:       "Available",
	presence.Away:            "Away",
	presence.Busy:            "Busy",
	presence.DoNotDisturb:    "Do_Not_Disturb",
	presence.InCalendarEvent: "In_A_Calendar_Event",
	presence.InMeeting:       "In_A_Meeting",
	presence.Presenting:      "Presenting",
	presence.OnCall:          "In_A_Call",
	presence.OutOfOffice:     "Out_of_Office",
}

// searchWords are the words of the search for contacts. Zoom has four words there:
// statuses of a busy user become do-not-disturb, those of an absent one away.
var searchWords = [...]string{
	presence.Offline:         "Offline",
	presence.Available:       "Available",
	presence.Away:            "Away",
	presence.Busy:            "Do_Not_Disturb",
	presence.DoNotDisturb:    "Do_Not_Disturb",
	presence.InCalendarEvent: "Away",
	presence.InMeeting:       "Do_Not_Disturb",
	presence.Presenting:      "Do_Not_Disturb",
	presence.OnCall:          "Do_Not_Disturb",
	presence.OutOfOffice:     "Away",
}

// StatusWord is a status as GET and a single contact spell it.
func StatusWord(s presence.Status) string { return words[s] }

// eventWords are the words of webhook events. Zoom's enumeration there lacks
// "Out_of_Office", which it has everywhere else.
var eventWords = [...]string{
	presence.Offline:         "Offline",
	presence.Available:       "Available",
	presence.Away:            "Away",
	presence.Busy:            "Busy",
	presence.DoNotDisturb:    "Do_Not_Disturb",
	presence.InCalendarEvent: "In_Calendar_Event",
	presence.InMeeting:       "In_Meeting",
	presence.Presenting:      "Presenting",
	presence.OnCall:          "On_Phone_Call",
	presence.OutOfOffice:     "Out_of_Office",
}

// eventWord is a presence as events spell it: they alone distinguish a user who is
// available on mobile devices only.
func eventWord(p *presence.Presence) string {
	if p.Status == presence.Available && p.Handheld {
		return "Mobile_signed_in"
	}
	return eventWords[p.Status]
}
