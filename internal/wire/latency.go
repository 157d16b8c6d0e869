package wire

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// A LatencyBucket counts the requests that were answered within some seconds.
type LatencyBucket struct {
	Seconds  float64
	Requests uint64
}

// Latency is how many requests were answered, on all routes together, and how many of them
// within each time, in increasing order.
func (o *Observer) Latency() (requests uint64, within []LatencyBucket) {
	routes := make(chan prometheus.Metric)
	go func() {
		defer close(routes)
		o.seconds.Collect(routes)
	}()
	for route := range routes {
		var m dto.Metric
		if route.Write(&m) != nil {
			continue // a histogram can always be written
		}
		requests += m.GetHistogram().GetSampleCount()
		for i, b := range m.GetHistogram().GetBucket() {
			if i == len(within) {
				within = append(within, LatencyBucket{Seconds: b.GetUpperBound()})
			}
			within[i].Requests += b.GetCumulativeCount()
		}
	}
	return requests, within
}
