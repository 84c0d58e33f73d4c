// Package tracing makes the spans of OpenTelemetry and carries W3C trace contexts from the producer's event to the consumer's
// endpoint. Nothing else imports OpenTelemetry's SDK.
//
// A context from outside is believed for one thing: which trace a span belongs to. One that is malformed counts as none. An
// event that has none belongs to a trace whose id is a function of the event, so that all parts agree on it, with tracing on or
// off, and the tries of one delivery share it.
//
// What a span says is the same for everybody who reads traces: no header, no body, no URL beyond its host, no credential. Names of
// spans are of a fixed set.
package tracing
