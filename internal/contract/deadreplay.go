package contract

// DeadReplay says what a call to try dead letters again has begun.
type DeadReplay struct {
	Replays    int             `json:"replays" doc:"replays that were started, one of each subscription"`
	Running    int             `json:"running" doc:"replays that ran already"`
	Deliveries int             `json:"deliveries" doc:"dead deliveries that they are about"`
	Events     int             `json:"events" doc:"events that were published anew and are dead letters no more"`
	Scanned    int             `json:"scanned" doc:"messages of the queue of dead letters that were looked at for them"`
	Remaining  int             `json:"remaining" doc:"messages that are still to be looked at; zero: it is done"`
	Skipped    []SkippedReplay `json:"skipped" nullable:"false"`
}

// SkippedReplay is a subscription whose deliveries are not tried again.
type SkippedReplay struct {
	Subscription string `json:"subscription_id"`
	Reason       string `json:"reason"`
}
