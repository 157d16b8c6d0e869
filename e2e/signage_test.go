package e2e_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestSignage: an administrator makes a link on the board. A display without a sign-in shows
// the names and statuses of a group, and nothing else. The link is revoked, and looks as if
// it had never existed.
func TestSignage(t *testing.T) {
	d := startDemo(t)
	board, display := browse(t), browse(t)
	browserErrors := collectErrors(t, board)
	var zoe, other user
	d.create(t, `{"email":"zoe@example.com","display_name":"Zoe <i>Zimmer</i>","groups":["Night Shift"]}`, &zoe)
	d.create(t, `{"email":"yan@example.com","display_name":"Yan","groups":["Day Shift"]}`, &other)
	d.ask(t, http.MethodPut, "/v1/users/"+zoe.ID+"/claims/x", `{"source":"app","status":"out_of_office","note":"secret note"}`)

	openBoard(t, board, d, "", d.AccessToken)
	wait(t, board, person(zoe)+`?.querySelector(".groups")`)
	click(t, board, "#signage")
	wait(t, board, `document.querySelector("dialog .empty")`)
	retype(t, board, "#link-name", "Entrance")
	choose(t, board, "#link-group", "Night Shift")
	click(t, board, "#new-link button")
	wait(t, board, `document.querySelector("#made-link code") && document.querySelector("#links li")`)
	screenshot(t, board, "signage-links.png")
	link := text(t, board, "#made-link code")
	if !strings.HasPrefix(link, d.URL+"/signage/") {
		t.Fatalf("the link is %s", link)
	}

	do(t, display, chromedp.Navigate(link))
	wait(t, display, `document.querySelector("#connection")?.textContent === "Live" && document.querySelector("h1").textContent === "Night Shift"`)
	wait(t, display, `document.querySelectorAll("#people li").length === 1 && document.querySelector("#people .name").textContent === "Zoe <i>Zimmer</i>" && document.querySelector("#people .word").textContent === "Out of office"`)
	screenshot(t, display, "signage.png")
	api := strings.Replace(link, "/signage/", "/v1/signage/", 1)
	if status, body := readURL(t, api); status != http.StatusOK || strings.Contains(body, "secret note") || strings.Contains(body, "@example.com") || strings.Contains(body, "Yan") {
		t.Errorf("%d %s", status, body)
	}
	d.ask(t, http.MethodDelete, "/v1/users/"+zoe.ID, "")
	wait(t, display, `document.querySelectorAll("#people li").length === 0`)

	click(t, board, "#links button")
	wait(t, board, `document.querySelector("dialog .empty")`)
	instance := regexp.MustCompile(`"instance":"[^"]*"`) // the id of the request
	status, revoked := readURL(t, api)
	never, unknown := readURL(t, api[:len(api)-4]+"AAAA")
	if status != http.StatusNotFound || never != status || instance.ReplaceAllString(unknown, "") != instance.ReplaceAllString(revoked, "") {
		t.Errorf("revoked: %d %s, never made: %d %s", status, revoked, never, unknown)
	}
	wait(t, display, `document.querySelector("[role=alert]")?.textContent.startsWith("This link does not work")`)
	noErrors(t, browserErrors())
}

// readURL reads what anybody may read.
func readURL(t *testing.T, url string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}
