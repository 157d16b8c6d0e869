package e2e_test

import (
	"encoding/xml"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// h2specFailures are the cases of h2spec that the server does not pass, with the reason.
// All are decisions of net/http, which serves HTTP/2.
var h2specFailures = map[string]string{
	"http2/4.2 Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE":                        "the frame has 20 kB and the server announces a maximum of 1 MiB; the case assumes the initial 16 KiB",
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                          "the server closes a connection whose SETTINGS name a parameter twice, which no client needs",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                     "the response is 400; RFC 9113 (8.1.1) allows one instead of a reset",
	`http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: "the response is 400, likewise",
}

// h2specRaces are cases whose result depends on which of two goroutines is first.
var h2specRaces = map[string]string{
	"http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream":                                     "the request has no END_STREAM; if the response is complete before the second frame, the server resets the stream with NO_ERROR (RFC 9113, 8.1) and ignores the frame",
	`http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length`:                      unreadBody,
	`http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length`: unreadBody,
}

const unreadBody = "the response does not need the body; if it is complete before the last frame of the body, the server ignores that frame"

// An h2specSuite is a section of h2spec with its cases.
type h2specSuite struct {
	Section string `xml:"package,attr"`
	Cases   []struct {
		Name    string    `xml:"classname,attr"`
		Failure *struct{} `xml:"failure"`
		Error   *struct{} `xml:"error"`
		Skipped *struct{} `xml:"skipped"`
	} `xml:"testcase"`
}

// TestH2spec runs the conformance tests of h2spec. The cases that fail are those listed,
// and no other ones. There is no HTTP/2 without TLS.
func TestH2spec(t *testing.T) {
	tool, err := filepath.Abs(requireFile(t, "../bin/h2spec"))
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	server := serveTLS(t)
	output, _ := run(t, nil, tool, "--tls", "--insecure", "--host", server.Hostname(), "--port", server.Port(), "--timeout", "10", "--junit-report", report) // it fails if a case fails
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var results struct {
		Suites []h2specSuite `xml:"testsuite"`
	}
	if err := xml.Unmarshal(data, &results); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	checkH2spec(t, results.Suites, output)
}

func checkH2spec(t *testing.T, suites []h2specSuite, output string) {
	t.Helper()
	var known []string
	cases := 0
	for _, suite := range suites {
		for _, c := range suite.Cases {
			name := suite.Section + " " + c.Name
			_, fails := h2specFailures[name]
			_, races := h2specRaces[name]
			if fails || races {
				known = append(known, name)
			}
			cases++
			switch failed := c.Failure != nil || c.Error != nil || c.Skipped != nil; {
			case races:
				t.Logf("%s: failed %t", name, failed)
			case failed && !fails:
				t.Errorf("%s: failed\n%s", name, output)
			case !failed && fails:
				t.Errorf("%s: passed; remove it from the list", name)
			}
		}
	}
	if slices.Sort(known); len(slices.Compact(known)) != len(h2specFailures)+len(h2specRaces) || cases < 145 {
		t.Errorf("h2spec ran %d cases, of which %q are listed", cases, known)
	}
}

// serveTLS runs "porchlight serve" with a certificate until the test ends.
func serveTLS(t *testing.T) *url.URL {
	t.Helper()
	dir, env := t.TempDir(), storeEnv(t)
	cert, key := writeCertificate(t, dir)
	data := filepath.Join(dir, "data")
	if output, err := run(t, env, binary, "init", "--json", "--data-dir", data); err != nil {
		t.Fatalf("porchlight init: %v\n%s", err, output)
	}
	var served struct{ URL string }
	start(t, &served, env, "serve", "--json", "--data-dir", data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--tls-cert-file", cert, "--tls-key-file", key)
	at, err := url.Parse(served.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
