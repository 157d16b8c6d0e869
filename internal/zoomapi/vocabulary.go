package zoomapi

import "porchlight.dev/porchlight/internal/presence"

// accepted are the words of an update. Zoom's material spells several statuses
// in several ways; all of them mean the same, in exactly this case. Zoom's
// "Offline" and "Mobile_signed_in" are seen, never set.
var accepted = map[string]presence.Status{
	"Available": presence.Available,
	"Away":      presence.Away,
	"Busy":      presence.Busy,

	"Do_No_Disturb":  presence.DoNotDisturb, // the enumeration
	"Do_Not_Disturb": presence.DoNotDisturb, // the prose
	"Do-Not_Disturb": presence.DoNotDisturb, // the prose of the workflow task
	"Do_Not-Disturb": presence.DoNotDisturb,

	"In_Calendar_Event":   presence.InCalendarEvent,
	"In_A_Calendar_Event": presence.InCalendarEvent, // as GET says it

	"In_A_Zoom_Meeting": presence.InMeeting,
	"In_A_Meeting":      presence.InMeeting, // as GET says it
	"In_Meeting":        presence.InMeeting, // as webhooks say it

	"On_A_Call":     presence.OnCall,
	"In_A_Call":     presence.OnCall, // as GET says it
	"On_Phone_Call": presence.OnCall, // as webhooks say it

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

// words are what GET and a single contact say, and what webhooks say.
var words = [...]struct{ get, webhook string }{
	presence.Offline:         {"Offline", "Offline"},
	presence.Available:       {"Available", "Available"},
	presence.Away:            {"Away", "Away"},
	presence.Busy:            {"Busy", "Busy"},
	presence.DoNotDisturb:    {"Do_Not_Disturb", "Do_Not_Disturb"},
	presence.InCalendarEvent: {"In_A_Calendar_Event", "In_Calendar_Event"},
	presence.InMeeting:       {"In_A_Meeting", "In_Meeting"},
	presence.Presenting:      {"Presenting", "Presenting"},
	presence.OnCall:          {"In_A_Call", "On_Phone_Call"},
	presence.OutOfOffice:     {"Out_of_Office", "Out_of_Office"},
}

// searchWords are what the search for contacts says: Zoom has four words there,
// so whoever is busy with others must not be disturbed, and whoever is elsewhere
// is away.
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
func StatusWord(s presence.Status) string { return words[s].get }

// WebhookWord is a presence as user.presence_status_updated spells it: somebody
// available whose only clients are carried about is Mobile_signed_in.
func WebhookWord(p *presence.Presence) string {
	if p.Handheld && p.Status == presence.Available {
		return "Mobile_signed_in"
	}
	return words[p.Status].webhook
}
