package client

import (
	"context"
	"net/http"
	"time"
)

// ZoomPresence is a user's status from Zoom's API, in Zoom's vocabulary.
type ZoomPresence struct {
	Status string `json:"status"`
	// EndTime and RemainingTime (in seconds) are set only for the caller's own
	// do-not-disturb.
	EndTime       time.Time `json:"end_time,omitzero"`
	RemainingTime int       `json:"remaining_time,omitempty"`
}

// ZoomStatus calls Zoom's GET presence_status.
func (c *Client) ZoomStatus(ctx context.Context, user string) (ZoomPresence, error) {
	return ask[ZoomPresence](ctx, c, call{method: http.MethodGet, path: path("v2", "users", user, "presence_status")})
}

// SetZoomStatus calls Zoom's PUT presence_status, with a status such as "Away" or
// "Do_Not_Disturb". minutes applies to do-not-disturb: 1 to 1440, or 0 for 20. The
// result is the revision of the user's record, or 0 if the response has none.
func (c *Client) SetZoomStatus(ctx context.Context, user, status string, minutes int, opts ...Option) (uint64, error) {
	body := struct {
		Status   string `json:"status"`
		Duration int    `json:"duration,omitempty"`
	}{status, minutes}
	header, err := c.do(ctx, call{method: http.MethodPut, path: path("v2", "users", user, "presence_status"), body: body, opts: opts})
	return revision(header), err
}
