package presence_test

import (
	"testing"
	"time"

	. "porchlight.dev/porchlight/internal/presence"
)

// TestOrigin: a change names the claim or client that it comes from.
func TestOrigin(t *testing.T) {
	phone := SignIn{Session: "phone", Client: Mobile, Version: "5.17.5", Lease: MinLease}
	idlePhone := phone
	idlePhone.Activity = ActivityIdle
	noDesk := SignOut{Session: "desk"}
	client := func(status Status) Origin {
		return Origin{Client: Client{Type: Mobile, Version: "5.17.5", Status: status}}
	}
	for _, row := range []struct {
		name   string
		before []Event
		wait   time.Duration
		events []Event // committed together
		want   Origin
	}{
		{"a client signs in", nil, 0, []Event{phone}, client(Available)},
		{"an idle client signs in", nil, 0, []Event{idlePhone}, client(Away)},
		{"its own status under another's claim", []Event{manual(Busy)}, 0, []Event{idlePhone}, client(Away)},
		{"a client idles", []Event{phone}, 0, []Event{Refresh{Session: "phone", Activity: ActivityIdle}}, client(Away)},
		{"a client wakes", []Event{idlePhone}, 0, []Event{Refresh{Session: "phone", Activity: ActivityActive}}, client(Available)},
		{"a client signs out", []Event{phone}, 0, []Event{SignOut{Session: "phone"}}, client(Offline)},
		{"a client is gone", []Event{phone, noDesk}, MinLease, []Event{Tick{}}, client(Offline)},
		{
			"a client idles by itself",
			[]Event{SignIn{Session: "phone", Client: Mobile, Version: "5.17.5", Lease: MaxLease}, noDesk},
			DefaultPolicy().IdleAfter,
			[]Event{Tick{}},
			client(Away),
		},
		{"a claim is set", nil, 0, []Event{claim("m", Meeting, InMeeting)}, Origin{Claim: "m", Source: Meeting}},
		{"a claim is ended", []Event{claim("m", Meeting, InMeeting)}, 0, []Event{EndClaim{ID: "m"}}, Origin{Claim: "m", Source: Meeting}},
		{"available is chosen", nil, 0, []Event{manual(Available)}, Origin{Claim: ManualClaim, Source: Manual}},
		{"a claim ends by itself", []Event{claim("m", Meeting, InMeeting, time.Minute)}, time.Minute, []Event{Tick{}}, Origin{Claim: "m", Source: Meeting}},
		{"a note after a claim ended by itself", []Event{claim("m", Meeting, InMeeting, time.Minute)}, time.Minute, []Event{SetNote{Text: "n"}}, Origin{}},
		{
			"a refused sign-out after a claim ended by itself",
			[]Event{claim("m", Meeting, InMeeting, time.Minute)},
			time.Minute,
			[]Event{Tick{}, SignOut{Session: "none"}},
			Origin{Claim: "m", Source: Meeting},
		},
		{"a note is set", nil, 0, []Event{SetNote{Text: "n"}}, Origin{}},
		{"a claim after a client was gone", []Event{phone, noDesk}, time.Minute, []Event{manual(Busy)}, Origin{Claim: ManualClaim, Source: Manual}},
		{"a note after a client was gone", []Event{phone, noDesk}, time.Minute, []Event{SetNote{Text: "n"}}, Origin{}},
		{"a refused claim after a client was gone", []Event{phone, noDesk}, time.Minute, []Event{Tick{}, EndClaim{ID: "none"}}, client(Offline)},
		{"the first accepted of several", nil, 0, []Event{SignOut{Session: "none"}, phone, SignOut{Session: "desk"}}, client(Available)},
		{"what it came to in the end", nil, 0, []Event{phone, SignOut{Session: "phone"}, SetNote{Text: "n"}}, client(Offline)},
	} {
		s := newScript(t)
		s.signIn()
		for _, e := range row.before {
			s.must(e)
		}
		s.now = s.now.Add(row.wait)
		next, _, err := ApplyEach(RecordedOf(s.state), row.events, s.policy, s.now)
		if err != nil || next.Origin != row.want {
			t.Errorf("%s: from %+v, %v; want %+v", row.name, next.Origin, err, row.want)
		}
		if len(row.events) == 1 {
			alone, err := Apply(RecordedOf(s.state), row.events[0], s.policy, s.now)
			if err != nil || alone.Origin != row.want {
				t.Errorf("%s, alone: from %+v, %v; want %+v", row.name, alone.Origin, err, row.want)
			}
		}
	}
}

// TestProfiles: a change has the profiles of the event that the directory caused.
func TestProfiles(t *testing.T) {
	profiles := Profiles{Profile: &Profile{Email: "new@example.com"}, ProfileBefore: &Profile{Email: "old@example.com"}}
	for name, row := range map[string]struct {
		events []Event
		want   Profiles
	}{
		"a profile":           {[]Event{ProfileChanged{Email: true, Profiles: profiles}}, profiles},
		"after the soft tick": {[]Event{Tick{}, SetUserState{State: UserDeleted, Profiles: profiles}}, profiles},
		"a claim":             {[]Event{manual(Busy)}, Profiles{}},
	} {
		s := newScript(t)
		s.signIn()
		next, _, err := ApplyEach(RecordedOf(s.state), row.events, s.policy, s.now)
		if err != nil || next.Profiles != row.want {
			t.Errorf("%s: %+v, %v; want %+v", name, next.Profiles, err, row.want)
		}
	}
}
