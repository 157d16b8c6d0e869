package pebblestore

import "porchlight.dev/porchlight/internal/store"

// A bug is one that can be planted where it would be easiest to make: the proofs
// must catch each. In a build without the tag faultinject there is none.
type bug string

const (
	skipSync      bug = "skip-sync"      // a batch is not brought to the disk
	answerFirst   bug = "answer-first"   // an update is answered before it is applied
	answerRefused bug = "answer-refused" // a refused update shows what is not durable
	answerFailed  bug = "answer-failed"  // an update is answered though the disk failed
	reuseRevision bug = "reuse-revision" // a commit takes the revision of the one before it
	staleState    bug = "stale-state"    // an update does not see what is staged
	logTwice      bug = "log-twice"      // a commit has two log entries
	endTwice      bug = "end-twice"      // a commit tells of an end that its record does not have
	keepExpiry    bug = "keep-expiry"    // an entry of the expiry index stays behind
	halfWrite     bug = "half-write"     // documents of one write go in two batches
	forgetNumber  bug = "forget-number"  // the numbers that documents take are not kept
	positionFirst bug = "position-first" // a position is shown before its records
	readUnsynced  bug = "read-unsynced"  // a read shows what is not durable
	watchUnsynced bug = "watch-unsynced" // a watcher is given what is not durable
	readerAhead   bug = "reader-ahead"   // a reader's position moves before it took the entries
	forgetReader  bug = "forget-reader"  // a reader's position is not kept
	dropUnread    bug = "drop-unread"    // the log is trimmed past a reader
)

// spoil plants what is of a commit that was made and logged, and not staged yet.
func (c *committer) spoil(o *op, was, it *item) {
	switch {
	case planted(reuseRevision) && was.state.Revision != 0:
		it.state.Revision = was.state.Revision
		it.compose()
		c.g.entries = c.g.entries[:len(c.g.entries)-1]
		c.log(o, was, it)
	case planted(logTwice):
		c.seq++
		it.at = c.seq
		c.log(o, was, it)
	case planted(endTwice) && o.by.Cause == store.CauseTime:
		revision := it.state.Revision
		it.state = was.state
		it.state.Revision = revision
		it.compose()
		c.rearm(it)
	}
}
