package server_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

const dashboardFile = "../../deploy/grafana/porchlight.json"

// A dashboard is what these tests read of Grafana's form.
type dashboard struct {
	UID           string  `json:"uid"`
	ID            *int    `json:"id"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct {
			Name       string `json:"name"`
			Type       string `json:"type"`
			Definition string `json:"definition"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int        `json:"id"`
	Type        string     `json:"type"`
	Title       string     `json:"title"`
	Datasource  datasource `json:"datasource"`
	GridPos     grid       `json:"gridPos"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []target `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type grid struct{ X, Y, W, H int }

type target struct {
	RefID      string     `json:"refId"`
	Datasource datasource `json:"datasource"`
	Expr       string     `json:"expr"`
}

// overlaps reports whether two panels share a cell.
func (g grid) overlaps(o grid) bool {
	return g.X < o.X+o.W && o.X < g.X+g.W && g.Y < o.Y+o.H && o.Y < g.Y+g.H
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	d := new(dashboard)
	if err := json.Unmarshal(text, d); err != nil {
		t.Fatal(err)
	}
	return d
}

// engineOf is the engine that a row or a group of rules is for, by a word of its name; "":
// both.
func engineOf(name string) string {
	for _, engine := range []string{embedded, onlyNATS} {
		if strings.Contains(strings.ToLower(name), strings.ToLower(engine)) {
			return engine
		}
	}
	return ""
}

// The engines, as they are named in the rows of the dashboard, the groups of rules and the
// table of metrics.
const embedded, onlyNATS = "embedded", "NATS"

// A query is one of the dashboard, or the expression of a rule.
type query struct{ name, engine, expr string }

// queries are those of all panels. A row says for which engine its panels are.
func (d *dashboard) queries() (all []query) {
	row := ""
	for i := range d.Panels {
		p := &d.Panels[i]
		if p.Type == "row" {
			row = p.Title
		}
		for _, target := range p.Targets {
			all = append(all, query{fmt.Sprintf("panel %q of row %q, query %s", p.Title, row, target.RefID), engineOf(row), target.Expr})
		}
	}
	return all
}

// TestDashboard: Grafana can load the dashboard and draw every panel. TestPrometheus runs
// its queries.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID != "porchlight" || d.ID != nil || d.SchemaVersion == 0 {
		t.Errorf("uid %q, id %v, schema %d", d.UID, d.ID, d.SchemaVersion)
	}
	if v := d.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" {
		t.Errorf("the first variable is %+v", v)
	}
	for i := range d.Panels {
		for _, problem := range d.check(i) {
			t.Errorf("panel %q: %s", d.Panels[i].Title, problem)
		}
	}
	for _, title := range []string{
		"Requests", "Presence", "Streams", "Webhooks", "Store", "Store: embedded engine", "Store: NATS", "Backups: embedded engine", "Certificates", "Process", "Nodes",
	} {
		if !d.hasRow(title) {
			t.Errorf("there is no row %q", title)
		}
	}
}

func (d *dashboard) hasRow(title string) bool {
	for i := range d.Panels {
		if d.Panels[i].Type == "row" && d.Panels[i].Title == title {
			return true
		}
	}
	return false
}

// check returns what is wrong with a panel, alone or beside those before it.
func (d *dashboard) check(i int) (problems []string) {
	p := &d.Panels[i]
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, o := range d.Panels[:i] {
		if o.ID == p.ID {
			problem("it has the id %d of %q", p.ID, o.Title)
		}
		if o.GridPos.overlaps(p.GridPos) {
			problem("it overlaps %q", o.Title)
		}
	}
	if g := p.GridPos; p.ID == 0 || p.Title == "" || g.W == 0 || g.H == 0 || g.X < 0 || g.X+g.W > 24 {
		problem("id %d, position %+v", p.ID, g)
	}
	if p.Type == "row" {
		return problems
	}
	variable := datasource{"prometheus", "${datasource}"}
	if p.Datasource != variable || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
		problem("data source %+v, unit %q, %d queries", p.Datasource, p.FieldConfig.Defaults.Unit, len(p.Targets))
	}
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		if refs[q.RefID] || q.RefID == "" || q.Expr == "" || q.Datasource != variable || !strings.Contains(q.Expr, `instance=~"$instance"`) {
			problem("query %+v", q)
		}
		refs[q.RefID] = true
	}
	return problems
}
