package contract

import "time"

// Attempt is one try to call the consumer's endpoint.
type Attempt struct {
	Number int       `json:"number"`
	At     time.Time `json:"at"`
	// DurationMS is how long the call took through the gateway, in milliseconds.
	DurationMS int64 `json:"duration_ms"`
	// Status is the endpoint's HTTP status; zero if it never answered.
	Status int `json:"status,omitempty"`
	// Outcome is what the egress said of the call.
	Outcome Outcome `json:"outcome"`
	// Detail says more where an outcome has several causes.
	Detail Detail `json:"detail,omitempty"`
	// Error says in a sentence what went wrong; empty on success.
	Error string `json:"error,omitempty"`
	// NextAttempt is when the next one is due; zero if none follows.
	NextAttempt time.Time `json:"next_attempt_at,omitzero"`
	// TraceID is the W3C trace that the attempt belongs to; empty if none was recorded.
	TraceID string `json:"trace_id,omitempty"`
	// Request, Response and Timings come from the log of attempts, which is bounded by age and bytes: nil where it holds nothing.
	Request  *AttemptRequest  `json:"request,omitempty"`
	Response *AttemptResponse `json:"response,omitempty"`
	Timings  *Timings         `json:"timings,omitempty"`
}

// Hidden stands in the log of attempts where the value of a header is secret.
const Hidden = "(hidden)"

// Header is one header of a request or an answer.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// AttemptRequest is the request of an attempt as the endpoint gets it, but for secret values, which are Hidden.
type AttemptRequest struct {
	Method  string   `json:"method"`
	URL     string   `json:"url"`
	Headers []Header `json:"headers,omitempty"`
	// Body is the beginning of the body: text, or base64 where it is no UTF-8.
	Body       string `json:"body,omitempty"`
	BodyBase64 bool   `json:"body_base64,omitempty"`
	// BodyBytes is the length of the whole body.
	BodyBytes int `json:"body_bytes"`
	// BodyCut says that Body is not all of it.
	BodyCut bool `json:"body_cut,omitempty"`
}

// AttemptResponse is what the endpoint answered.
type AttemptResponse struct {
	Status  int      `json:"status"`
	Headers []Header `json:"headers,omitempty"`
	// HeadersCut says that there were more headers than the gateway hands on.
	HeadersCut bool `json:"headers_cut,omitempty"`
	// Body is the beginning of the body: text, or base64 where it is no UTF-8.
	Body       string `json:"body,omitempty"`
	BodyBase64 bool   `json:"body_base64,omitempty"`
	// BodyCut says that Body is not all of it.
	BodyCut bool `json:"body_cut,omitempty"`
}

// Timings are where the time of an attempt went, in milliseconds. A phase that did not take place is zero.
type Timings struct {
	// QueuedMS is from the delivery's creation, or from when the attempt was due, until it began.
	QueuedMS  float64 `json:"queued_ms"`
	DNSMS     float64 `json:"dns_ms"`
	ConnectMS float64 `json:"connect_ms"`
	TLSMS     float64 `json:"tls_ms"`
	// FirstByteMS is from when the connection was there until the first byte of the answer.
	FirstByteMS float64 `json:"first_byte_ms"`
	// TotalMS is the whole call as the egress made it.
	TotalMS float64 `json:"total_ms"`
	// Reused says that the call went over a connection that was there already.
	Reused bool `json:"reused"`
}
