// Package doctor judges the state of a server: it turns facts that others gathered into
// results, each with an outcome, a line on what was found and a line on what to do.
//
// It is separate from server, which gathers the facts, so that each threshold and each
// text is in one table, and each outcome of each check can be tested without a server, a
// full disk or a clock that is wrong.
//
// It guarantees that every check has at least one result, that each warning and problem says
// what to do, and that the same facts and time give the same results. It must not read a
// file, a clock or a network, and a fact must not contain a secret.
package doctor

import "time"

// An Outcome is how a check ended.
type Outcome string

// The outcomes.
const (
	OK         Outcome = "ok"
	Warning    Outcome = "warning"     // works now, and should be changed
	Problem    Outcome = "problem"     // something does not work, or data is at risk
	NotChecked Outcome = "not_checked" // Found says why
)

// A Result is one finding of a check.
type Result struct {
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	Found   string  `json:"found"`
	Do      string  `json:"do,omitempty"` // empty if there is nothing to do
}

// A Report has the results of all checks, in the order of the checks.
type Report struct {
	Time    time.Time `json:"time"`
	Place   string    `json:"place"` // the data directory or the store
	Running bool      `json:"running"`
	Version string    `json:"version,omitempty"` // of the server that runs
	Outcome Outcome   `json:"outcome"`           // the worst: problem, else warning, else ok
	Results []Result  `json:"results"`
}

// Judge applies every check to the facts.
func Judge(f *Facts, now time.Time) Report {
	r := Report{Time: now.UTC().Truncate(time.Millisecond), Place: f.Place, Running: f.Running, Version: f.Version, Outcome: OK}
	for _, c := range checks() {
		j := &judgement{check: c.name, facts: f, now: now}
		c.judge(j)
		r.Results = append(r.Results, j.results...)
	}
	switch {
	case r.Count(Problem) > 0:
		r.Outcome = Problem
	case r.Count(Warning) > 0:
		r.Outcome = Warning
	}
	return r
}

// Count is the number of results with an outcome.
func (r *Report) Count(o Outcome) (n int) {
	for i := range r.Results {
		if r.Results[i].Outcome == o {
			n++
		}
	}
	return n
}

// A judgement collects the results of one check.
type judgement struct {
	check   string
	facts   *Facts
	now     time.Time
	results []Result
}

func (j *judgement) add(o Outcome, found, do string) {
	j.results = append(j.results, Result{j.check, o, found, do})
}

func (j *judgement) ok(found string)          { j.add(OK, found, "") }
func (j *judgement) skip(why string)          { j.add(NotChecked, why, "") }
func (j *judgement) warn(found, do string)    { j.add(Warning, found, do) }
func (j *judgement) problem(found, do string) { j.add(Problem, found, do) }
func (j *judgement) clean() bool              { return len(j.results) == 0 }
func (j *judgement) since(t time.Time) string { return Span(j.now.Sub(t)) }
func (j *judgement) okIfClean(text string) {
	if j.clean() {
		j.ok(text)
	}
}

// checks is the table of all checks, in the order of their results.
func checks() []struct {
	name  string
	judge func(*judgement)
} {
	return []struct {
		name  string
		judge func(*judgement)
	}{
		{"server", judgeServer},
		{"store", judgeStore},
		{"disk", judgeDisks},
		{"clock", judgeClock},
		{"descriptors", judgeDescriptors},
		{"certificates", judgeCertificates},
		{"public-url", judgePublicURL},
		{"webhooks", judgeWebhooks},
		{"consumers", judgeConsumers},
		{"quarantine", judgeQuarantine},
		{"nats", judgeNATS},
		{"backups", judgeBackups},
		{"settings", judgeSettings},
	}
}
