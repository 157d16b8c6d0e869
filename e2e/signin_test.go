package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// invite returns the link with which a user chooses a password.
func (d *demo) invite(t *testing.T, u user) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL+"/v1/users/"+u.ID+"/invitation", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+d.AccessToken)
	answer, err := new(http.Client).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	var link struct{ URL string }
	if err := json.Unmarshal(body, &link); err != nil || link.URL == "" {
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	return link.URL
}

// arrive waits like wait, while the tab goes from one page to another.
func arrive(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := chromedp.Run(tab, chromedp.Poll[bool](truthy(expression), chromedp.WithPollingTimeout(20*time.Second)))
		if err == nil {
			return
		}
		if time.Now().After(deadline) || !strings.Contains(err.Error(), "navigated") && !strings.Contains(err.Error(), "Cannot find context") {
			t.Fatalf("waiting for %s: %v", expression, err)
		}
	}
}

// TestSignIn: a person chooses a password with a link, sees the board, and signs in
// elsewhere after a wrong password. Signing out everywhere ends the other browser's board.
func TestSignIn(t *testing.T) {
	d := startDemo(t)
	ada := d.signedIn(t, 0)
	const live = `document.querySelector("#connection").textContent === "Live" && document.querySelector("#who").textContent`
	here, there := browse(t), browse(t)

	do(t, here, chromedp.Navigate(d.invite(t, ada)))
	wait(t, here, `location.hash === ""`)
	retype(t, here, "#password", "correct horse battery")
	retype(t, here, "#again", "correct horse battery")
	click(t, here, "#choose button")
	arrive(t, here, `location.pathname === "/" && `+live)
	screenshot(t, here, "signed-in-board.png")

	do(t, there, chromedp.Navigate(d.URL+"/signin?next=/account"))
	wait(t, there, `document.querySelector("#by-password")`)
	retype(t, there, "#email", ada.Email)
	retype(t, there, "#password", "wrong horse")
	click(t, there, "#by-password button")
	wait(t, there, `document.querySelector("#problem")?.hidden === false`)
	retype(t, there, "#password", "correct horse battery")
	click(t, there, "#by-password button")
	arrive(t, there, `location.pathname === "/account" && document.querySelectorAll("#sign-ins li").length === 2`)
	screenshot(t, there, "account.png")
	click(t, there, "#everywhere")
	wait(t, there, `document.querySelector("#entry")`)
	wait(t, here, `document.querySelector("#entry")`)
}
