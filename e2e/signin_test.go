package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"

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
	wait(t, here, `location.pathname === "/" && `+live)
	screenshot(t, here, "signed-in-board.png")

	do(t, there, chromedp.Navigate(d.URL+"/signin?next=/account"))
	wait(t, there, `document.querySelector("#by-password")`)
	retype(t, there, "#email", ada.Email)
	retype(t, there, "#password", "wrong horse")
	click(t, there, "#by-password button")
	wait(t, there, `document.querySelector("#problem")?.hidden === false`)
	retype(t, there, "#password", "correct horse battery")
	click(t, there, "#by-password button")
	wait(t, there, `location.pathname === "/account" && document.querySelectorAll("#sign-ins li").length === 2`)
	screenshot(t, there, "account.png")
	click(t, there, "#everywhere")
	wait(t, there, `document.querySelector("#entry")`)
	wait(t, here, `document.querySelector("#entry")`)
}
