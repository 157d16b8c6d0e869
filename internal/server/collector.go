package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"porchlight.dev/porchlight/internal/store"
)

// A collector reads counters when it is asked: a part's, or those of several things,
// which a label tells apart.
type collector[S any] struct {
	from    func() []S
	prefix  string
	labels  []string        // one, or none
	labelOf func(*S) string // nil: no label
	metrics []metric[S]
}

// A metric is one name, with a sample for each of the things, or several with a label of
// its own.
type metric[S any] struct {
	desc    *prometheus.Desc
	collect func(of *S, labels []string, to chan<- prometheus.Metric)
}

// collect makes the collector of one part.
func collect[S any](prefix string, from func() S) *collector[S] {
	return &collector[S]{prefix: prefix, from: func() []S { return []S{from()} }}
}

// collectEach makes the collector of several things.
func collectEach[S any](prefix, label string, labelOf func(*S) string, from func() []S) *collector[S] {
	return &collector[S]{prefix: prefix, labels: []string{label}, labelOf: labelOf, from: from}
}

func (c *collector[S]) counter(name, help string, value func(*S) float64) {
	c.add(name, help, prometheus.CounterValue, value, nil)
}

func (c *collector[S]) gauge(name, help string, value func(*S) float64) {
	c.add(name, help, prometheus.GaugeValue, value, nil)
}

// gaugeIf is gauge for a value that things may not have.
func (c *collector[S]) gaugeIf(name, help string, value func(*S) float64, has func(*S) bool) {
	c.add(name, help, prometheus.GaugeValue, value, has)
}

func (c *collector[S]) add(name, help string, kind prometheus.ValueType, value func(*S) float64, has func(*S) bool) {
	desc := prometheus.NewDesc(c.prefix+name, help, c.labels, nil)
	c.metrics = append(c.metrics, metric[S]{desc, func(of *S, labels []string, to chan<- prometheus.Metric) {
		if has == nil || has(of) {
			to <- prometheus.MustNewConstMetric(desc, kind, value(of), labels...)
		}
	}})
}

// counterBy and gaugeBy have a sample for each value of a label.
func (c *collector[S]) counterBy(name, label, help string, values func(*S) map[string]float64) {
	c.addBy(name, label, help, prometheus.CounterValue, values)
}

func (c *collector[S]) gaugeBy(name, label, help string, values func(*S) map[string]float64) {
	c.addBy(name, label, help, prometheus.GaugeValue, values)
}

func (c *collector[S]) addBy(name, label, help string, kind prometheus.ValueType, values func(*S) map[string]float64) {
	desc := prometheus.NewDesc(c.prefix+name, help, []string{label}, nil)
	c.metrics = append(c.metrics, metric[S]{desc, func(of *S, _ []string, to chan<- prometheus.Metric) {
		for labelled, value := range values(of) {
			to <- prometheus.MustNewConstMetric(desc, kind, value, labelled)
		}
	}})
}

// histogram exports what a part has counted. unit is what its values are divided by.
func (c *collector[S]) histogram(name, help string, unit float64, counts func(*S) *store.HistogramCounts) {
	desc := prometheus.NewDesc(c.prefix+name, help, c.labels, nil)
	c.metrics = append(c.metrics, metric[S]{desc, func(of *S, labels []string, to chan<- prometheus.Metric) {
		h := counts(of)
		buckets := make(map[float64]uint64, len(h.Bounds))
		for i, bound := range h.Bounds {
			buckets[float64(bound)/unit] = h.Within[i]
		}
		to <- prometheus.MustNewConstHistogram(desc, h.Count, float64(h.Sum)/unit, buckets, labels...)
	}})
}

// Describe implements prometheus.Collector.
func (c *collector[S]) Describe(to chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		to <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector[S]) Collect(to chan<- prometheus.Metric) {
	stats := c.from()
	for i := range stats {
		of := &stats[i]
		var labels []string
		if c.labelOf != nil {
			labels = []string{c.labelOf(of)}
		}
		for _, m := range c.metrics {
			m.collect(of, labels, to)
		}
	}
}
