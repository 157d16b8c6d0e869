package main

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// A figure is what is compared of two samples.
type figure string

const (
	cpuOf  figure = "CPU"
	rateOf figure = "rate"
)

func (f figure) of(s *sample) float64 {
	if f == rateOf {
		return s.rate
	}
	return s.cpu
}

// A budget limits the ratio of two cells, from below or from above.
type budget struct {
	figure
	of, over cell
	limit    float64
	least    bool
}

// Numbers of users that the budgets name.
const (
	thousand      = 1_000
	fiftyThousand = 50_000
	million       = 1_000_000
)

// budgets of the comparison. The cost of bare, redis and nats has no number of users.
var budgets = []budget{
	{cpuOf, cell{fast, http.MethodPut, fiftyThousand, 256}, cell{bare, http.MethodPut, 0, 256}, 1.6, false},
	{cpuOf, cell{fast, http.MethodPut, million, 256}, cell{bare, http.MethodPut, 0, 256}, 1.75, false},
	{cpuOf, cell{fast, http.MethodPut, fiftyThousand, 64}, cell{bare, http.MethodPut, 0, 64}, 1.75, false},
	{rateOf, cell{fast, http.MethodPut, fiftyThousand, 256}, cell{bare, http.MethodPut, 0, 256}, 0.64, true},
	{cpuOf, cell{redis, http.MethodPut, 0, 256}, cell{fast, http.MethodPut, fiftyThousand, 256}, 2, true},
	{cpuOf, cell{redis, http.MethodPut, 0, 64}, cell{fast, http.MethodPut, fiftyThousand, 64}, 1.6, true},
	{cpuOf, cell{redis, http.MethodPut, 0, 32}, cell{fast, http.MethodPut, fiftyThousand, 32}, 1, true},
	{cpuOf, cell{redis, http.MethodPut, 0, 8}, cell{fast, http.MethodPut, fiftyThousand, 8}, 1, true},
	{cpuOf, cell{redis, http.MethodPut, 0, 1}, cell{fast, http.MethodPut, fiftyThousand, 1}, 1, true},
	{cpuOf, cell{fast, http.MethodGet, fiftyThousand, 256}, cell{bare, http.MethodGet, 0, 256}, 0.9, false},
	{cpuOf, cell{fast, http.MethodGet, million, 256}, cell{bare, http.MethodGet, 0, 256}, 0.9, false},
	{cpuOf, cell{fast, http.MethodPut, million, 256}, cell{fast, http.MethodPut, thousand, 256}, 1.15, false},
}

// ratios are those within each round, or nil if one of the cells was not measured.
func (c *comparison) ratios(f figure, of, over cell) []float64 {
	a, b := c.samples[of], c.samples[over]
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = f.of(&a[i]) / f.of(&b[i])
	}
	return ratios
}

// A table is printed aligned, or as Markdown.
type table struct {
	title string
	rows  [][]string // the first is the head
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(markdown bool) {
	if len(t.rows) < 2 {
		return
	}
	fmt.Printf("\n%s\n\n", t.title)
	if !markdown {
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		for _, row := range t.rows {
			fmt.Fprintln(w, strings.NewReplacer("**", "", "`", "").Replace(strings.Join(row, "\t")))
		}
		_ = w.Flush() // like fmt.Print
		return
	}
	for i, row := range t.rows {
		fmt.Printf("| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Printf("|---%s|\n", strings.Repeat("|---", len(row)-1))
		}
	}
}

// print prints the costs side by side, a table for each number of connections, and the
// budgets.
func (c *comparison) print() {
	methods := [...]string{http.MethodPut, http.MethodGet}
	for _, method := range methods {
		c.summary(method).print(c.markdown)
	}
	for _, conns := range slices.Backward(c.conns) {
		for _, method := range methods {
			c.tableOf(method, conns).print(c.markdown)
		}
	}
	c.budgets().print(c.markdown)
}

// summary has Porchlight's figures with the reference number of users, and what the
// others cost.
func (c *comparison) summary(method string) *table {
	t := &table{title: fmt.Sprintf("%s, %s, median of %d rounds; server CPU in µs", method, usersOf(c.reference()), c.rounds)}
	cells := func(server string, conns int) []sample {
		users := 0
		if server == fast || server == slow {
			users = c.reference()
		}
		return c.samples[cell{server, method, users, conns}]
	}
	head := []string{"connections", "Porchlight: requests/s", "p50, ms", "p99, ms"}
	measured := slices.DeleteFunc(serverNames(), func(server string) bool { return len(cells(server, c.mostConns())) == 0 })
	for _, l := range labels {
		if slices.Contains(measured, l.server) {
			head = append(head, "CPU: "+l.label)
		}
	}
	t.add(head...)
	for _, conns := range slices.Backward(c.conns) {
		samples := cells(fast, conns)
		if len(samples) == 0 {
			continue
		}
		row := []string{strconv.Itoa(conns), thousands(int(middle(samples, rateOf.of))), inMS(middle(samples, p50Of)), inMS(middle(samples, p99Of))}
		for _, server := range measured {
			row = append(row, fmt.Sprintf("%.1f", middle(cells(server, conns), cpuOf.of)))
		}
		t.add(row...)
	}
	return t
}

// middle is the median of a value of the samples.
func middle(samples []sample, value func(*sample) float64) float64 {
	all := make([]float64, len(samples))
	for i := range samples {
		all[i] = value(&samples[i])
	}
	return median(all)
}

func p50Of(s *sample) float64 { return ms(s.p50) }
func p99Of(s *sample) float64 { return ms(s.p99) }

func inMS(f float64) string { return fmt.Sprintf("%.2f", f) }

func (c *comparison) tableOf(method string, conns int) *table {
	t := &table{title: fmt.Sprintf("%s, %s, median of %d rounds", method, connections(conns), c.rounds)}
	t.add(method, "users", "requests/s", "server CPU, µs", "CPU × bare", "p50, ms", "p99, ms")
	for _, l := range labels {
		for _, contender := range c.contenders {
			if contender.server == l.server {
				t.addSamples(c, l.label, cell{l.server, method, contender.users, conns})
			}
		}
	}
	return t
}

func (t *table) addSamples(c *comparison, label string, of cell) {
	samples := c.samples[of]
	if len(samples) == 0 {
		if why := c.absent[of.server]; why != "" && of.method == http.MethodPut {
			t.add(label, "", why, "", "", "", "")
		}
		return
	}
	users, overBare := "", ""
	if of.users > 0 {
		users = thousands(of.users)
	}
	if ratios := c.ratios(cpuOf, of, cell{bare, of.method, 0, of.conns}); len(ratios) > 0 {
		overBare = fmt.Sprintf("%.2f", median(ratios))
	}
	t.add(label, users, thousands(int(middle(samples, rateOf.of))), fmt.Sprintf("%.1f", middle(samples, cpuOf.of)), overBare,
		inMS(middle(samples, p50Of)), inMS(middle(samples, p99Of)))
}

// budgets is the table of those whose cells were measured.
func (c *comparison) budgets() *table {
	t := &table{title: "Budgets of PUT and GET: medians of the ratios within a round"}
	t.add("what", "budget", "median", "rounds", "")
	for i := range budgets {
		b := &budgets[i]
		ratios := c.ratios(b.figure, b.of, b.over)
		if len(ratios) == 0 {
			continue
		}
		texts := make([]string, len(ratios))
		for i, f := range ratios {
			texts[i] = fmt.Sprintf("%.2f", f)
		}
		got := median(ratios)
		t.add(b.what(), b.bound(), fmt.Sprintf("%.2f", got), strings.Join(texts, " "), b.verdict(got))
	}
	return t
}

func (b *budget) what() string {
	text := fmt.Sprintf("%s, %s, %s: %s of %s", b.of.method, connections(b.of.conns), usersOf(b.of.users+b.over.users), b.figure, b.of.server)
	if b.of.server == b.over.server {
		return fmt.Sprintf("%s, %s: %s with %s, × with %s", b.of.method, connections(b.of.conns), b.figure, usersOf(b.of.users), thousands(b.over.users))
	}
	return text + ", × " + b.over.server
}

func (b *budget) bound() string {
	if b.least {
		return fmt.Sprintf("≥ %g", b.limit)
	}
	return fmt.Sprintf("≤ %g", b.limit)
}

func (b *budget) verdict(got float64) string {
	off := got/b.limit - 1
	if b.least {
		off = 1 - got/b.limit
	}
	if off <= 0 {
		return "met"
	}
	return fmt.Sprintf("**missed** by %.0f %%", 100*off)
}

func connections(n int) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

func usersOf(n int) string { return thousands(n) + " users" }

func thousands(n int) string { return message.NewPrinter(language.English).Sprintf("%d", n) }
