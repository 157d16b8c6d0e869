package client

import (
	"testing"
	"testing/synctest"

	"porchlight.dev/porchlight/api"
)

// TestMembers: who joins and leaves everyone and groups is updated, with or without a
// connection. A user who is in two lists stays while one has the user.
func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Groups: []string{"Sales"}})
		startStream(t, s)
		c := f.acceptHello()
		sales := c.wantFrame(`{"type":"follow","group":"Sales"}`)
		c.sendReply(sales, `{"type":"snapshot","id":"$","presences":[{"user":"a","status":"away","revision":1}],"cursor":"c1"}`)
		c.send(`{"type":"snapshot","partial":true,"presences":[{"user":"b","status":"busy","revision":1}],"cursor":"c2"}`)
		wantView(t, s, "a=away b=busy")
		c.send(`{"type":"gone","user":"b","reason":"member_removed"}`)
		wantView(t, s, "a=away")
		c.dropConn()

		c = f.acceptHello()
		sales = c.wantFrame(`{"type":"follow","group":"Sales","cursor":"c2"}`)
		c.sendReply(sales, `{"type":"reset","id":"$","reason":"members"}`)
		c.sendReply(sales, `{"type":"snapshot","id":"$","presences":[{"user":"d","status":"busy","revision":1}],"cursor":"c3"}`)
		wantView(t, s, "d=busy")

		s.FollowEveryone(true)
		all := c.wantFrame(`{"type":"follow","everyone":true}`)
		c.sendReply(all, `{"type":"snapshot","id":"$","presences":[{"user":"d","status":"busy","revision":1},{"user":"e","status":"away","revision":1}],"cursor":"c4"}`)
		c.send(`{"type":"snapshot","partial":true,"presences":[{"user":"n","status":"busy","revision":1},{"user":"o","status":"busy","revision":1}],"cursor":"c5"}`)
		wantView(t, s, "d=busy e=away n=busy o=busy")

		// Only the server knows whether n and o are in Sales.
		s.FollowEveryone(false)
		left := c.wantFrame(`{"type":"unfollow","everyone":true}`)
		sales = c.wantFrame(`{"type":"follow","group":"Sales"}`)
		c.send(`{"type":"presence","user":"e","status":"busy","revision":2}`)
		c.sendReply(left, `{"type":"done","id":"$"}`)
		c.sendReply(sales, `{"type":"snapshot","id":"$","presences":[{"user":"d","status":"busy","revision":1},{"user":"n","status":"busy","revision":1}],"cursor":"c6"}`)
		wantView(t, s, "d=busy n=busy")
		c.send(`{"type":"gone","user":"n","reason":"member_removed"}`)
		wantView(t, s, "d=busy")
		s.FollowGroup("Sales", false)
		wantView(t, s, "")
		c.wantFrame(`{"type":"unfollow","group":"Sales"}`)
		c.dropConn()
	})
}

// TestTooManyMembers: a stream whose members grew past the limit does not reconnect.
func TestTooManyMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		s := f.client(StaticToken("x")).Stream(StreamOptions{Everyone: true})
		stop := startStream(t, s)
		c := f.acceptHello()
		c.wantFrame(`{"type":"follow","everyone":true}`)
		c.close(api.CloseTooMany, `{"reason":"too_many_users"}`)
		synctest.Wait()
		if err := stop(); err == nil || err.Error() != "the server closed the stream: too_many_users (3502)" {
			t.Error(err)
		}
	})
}
