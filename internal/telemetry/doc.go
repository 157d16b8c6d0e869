// Package telemetry records traces and sends them, with the metrics, to a collector by
// OTLP over HTTP.
//
// It is separate because every part through which a request passes adds spans, and none of
// them should know the library: OpenTelemetry's packages are imported here alone. It sends
// protobuf by an HTTP client of its own, because the library's exporter links gRPC, which
// is larger than everything else that is linked for telemetry.
//
// It guarantees that a request that is not traced costs a comparison with nil; that a
// collector that is slow or down delays nothing and takes a bounded amount of memory, and
// that what is lost is counted; and that nothing is sent but what its callers name: they
// must not name users, notes, addresses or secrets. It must not decide anything about
// requests.
package telemetry
