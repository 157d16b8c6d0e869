package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"porchlight.dev/porchlight/internal/httpapi"
	"porchlight.dev/porchlight/internal/presence"
	"porchlight.dev/porchlight/internal/store"
	"porchlight.dev/porchlight/internal/webhook"
	"porchlight.dev/porchlight/internal/zoomapi"
)

// TestEventBytes: node writes every event again as it read it, because receivers verify
// the signature over what they wrote.
func TestEventBytes(t *testing.T) {
	var bodies [][]byte
	for _, text := range oddTexts() {
		who := &webhook.Person{ID: presence.UserID(text), Email: text, FirstName: text, LastName: text, DisplayName: text, Department: text, Groups: []string{text}}
		for _, cause := range []store.Cause{store.CauseClaim, store.CauseCreated, store.CauseRenamed, store.CauseEmail, store.CauseGroups, store.CauseDeleted} {
			e := store.Entry{
				User: store.User{Account: presence.AccountID(text), ID: who.ID}, Time: time.UnixMilli(1_772_357_400_005), Revision: 1_772_357_400_005_000,
				By:     store.By{Cause: cause, Actor: store.Actor{User: who.ID, App: presence.AppID(text)}},
				Origin: presence.Origin{Claim: presence.ClaimID(text), Source: presence.Source(text), Client: presence.Client{Type: presence.ClientType(text), Version: text}},
				After:  presence.Presence{Status: presence.Busy, Note: text}, UserAfter: store.UserFacts{Note: text},
				Began:    []store.SessionFacts{{ID: presence.SessionID(text), Client: presence.ClientType(text), Version: text, App: presence.AppID(text)}},
				Profiles: presence.Profiles{Profile: who.Profile(), ProfileBefore: &presence.Profile{Email: "e", DisplayName: "d"}},
			}
			for _, form := range []webhook.Form{zoomapi.EventForm{}, httpapi.EventForm{}} {
				for _, event := range form.Encode(&e, who, who) {
					bodies = append(bodies, event.Body)
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const script = `
		const lines = require("fs").readFileSync(0).toString("utf8").split("\n")
		const wrong = lines.filter(line => JSON.stringify(JSON.parse(line)) !== line)
		console.log(JSON.stringify({read: lines.length, wrong: wrong.length, first: wrong[0]}))`
	node := exec.CommandContext(ctx, "node", "-e", script)
	node.Stdin = bytes.NewReader(bytes.Join(bodies, []byte("\n")))
	output, err := node.CombinedOutput()
	if want := fmt.Sprintf(`{"read":%d,"wrong":0}`, len(bodies)); err != nil || strings.TrimSpace(string(output)) != want {
		t.Errorf("node: %v\n%s\nwant %s", err, output, want)
	}
}

// oddTexts has each character of the lower planes that some encoder escapes, and bytes
// that are not UTF-8.
func oddTexts() []string {
	var odd strings.Builder
	for r := rune(0); r < 0x180; r++ {
		odd.WriteRune(r)
	}
	return []string{
		odd.String(), "\u2028\u2029\ufeff\ufffd\uffff\U0001f600\U0010ffff", "\xff\xc3", "\xed\xa0\x80\xed\xb0\x80", "__proto__", "</script>\\u2028\\", "",
	}
}
