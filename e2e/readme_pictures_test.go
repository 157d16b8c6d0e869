package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestReadmePictures makes the pictures of the README from the board of the demo, which
// "make pictures" copies into docs: one as it is, and a recording of changes that appear.
// Neither is larger than a README should load.
func TestReadmePictures(t *testing.T) {
	d := startDemo(t)
	board := browse(t)
	do(t, board, chromedp.EmulateViewport(1280, 800), prefer("light"))
	openBoard(t, board, d, "", d.AccessToken)
	at := map[string]user{}
	for _, u := range d.Users {
		at[u.Email] = u
	}
	change := func(email, status, note string) {
		t.Helper()
		d.ask(t, http.MethodPut, "/v1/users/"+at[email].ID+"/claims/app", `{"source":"app","status":"`+status+`","note":"`+note+`","duration_seconds":2700}`)
		waitForLine(t, board, at[email], status)
	}
	change("elif.yildiz@example.com", "in_meeting", "")
	frames := []image.Image{frame(t, board)}
	for _, c := range []struct{ email, status, note string }{
		{"ada.okafor@example.com", "do_not_disturb", "Writing the release notes"},
		{"chiara.lindqvist@example.com", "in_meeting", "Design review"},
		{"grace.mensah@example.com", "out_of_office", "Back on Monday"},
		{"daniel.abebe@example.com", "on_call", ""},
		{"ada.okafor@example.com", "busy", "Ready to read yours"},
	} {
		change(c.email, c.status, c.note)
		frames = append(frames, frame(t, board))
	}
	save(t, board, "board.png", chromedp.CaptureScreenshot())
	write(t, "board.gif", recording(t, frames))
	for name, most := range map[string]int64{"board.png": 150_000, "board.gif": 500_000} {
		file, err := os.Stat(filepath.Join(t.ArtifactDir(), name))
		if err != nil || file.Size() > most {
			t.Errorf("%s: %v, want at most %d bytes: %v", name, file.Size(), most, err)
		}
	}
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// frame is what the window shows.
func frame(t *testing.T, tab context.Context) image.Image {
	t.Helper()
	shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// recording is an animation of the frames, each shown for 1.5 s. After the first, each has
// only the rectangle that has changed.
func recording(t *testing.T, frames []image.Image) []byte {
	t.Helper()
	palette := mostFrequent(frames)
	animation := new(gif.GIF)
	var last *image.Paletted
	for _, f := range frames {
		whole := image.NewPaletted(f.Bounds(), palette)
		draw.Draw(whole, whole.Rect, f, image.Point{}, draw.Src)
		part := whole
		if last != nil {
			part = whole.SubImage(changed(last, whole)).(*image.Paletted) //nolint:errcheck // it is of the same type
		}
		animation.Image, animation.Delay = append(animation.Image, part), append(animation.Delay, 150)
		last = whole
	}
	var out bytes.Buffer
	if err := gif.EncodeAll(&out, animation); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// mostFrequent are the 256 colours that most pixels have: a page has few.
func mostFrequent(frames []image.Image) color.Palette {
	pixels := map[color.RGBA]int{}
	for _, f := range frames {
		for y := f.Bounds().Min.Y; y < f.Bounds().Max.Y; y++ {
			for x := f.Bounds().Min.X; x < f.Bounds().Max.X; x++ {
				pixels[color.RGBAModel.Convert(f.At(x, y)).(color.RGBA)]++ //nolint:errcheck // the model makes no other type
			}
		}
	}
	var palette color.Palette
	for _, c := range slices.SortedFunc(maps.Keys(pixels), func(a, b color.RGBA) int { return cmp.Compare(pixels[b], pixels[a]) }) {
		palette = append(palette, c)
	}
	return palette[:min(len(palette), 256)]
}

// changed is the smallest rectangle outside which two pictures are equal.
func changed(a, b *image.Paletted) (r image.Rectangle) {
	for y := a.Rect.Min.Y; y < a.Rect.Max.Y; y++ {
		for x := a.Rect.Min.X; x < a.Rect.Max.X; x++ {
			if a.ColorIndexAt(x, y) != b.ColorIndexAt(x, y) {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	if r.Empty() {
		return image.Rect(0, 0, 1, 1) // an animation has no empty frames
	}
	return r
}
