package contract

import "time"

const (
	// PortalLinkLife is how long a link to the portal holds. It is good for one sign-in.
	PortalLinkLife = 5 * time.Minute
	// PortalSessionLife bounds a session of the portal.
	PortalSessionLife = 8 * time.Hour
	// PortalIdle ends a session in which nothing was asked for.
	PortalIdle = time.Hour
)

// Door is the listener that a link to the portal is for.
type Door string

// The doors.
const (
	DoorGateway Door = "gateway"
	DoorAdmin   Door = "admin"
)

// PortalUser is who uses the portal: a link signs somebody in, and a session is somebody's.
type PortalUser struct {
	// Actor is a consumer or an admin.
	Actor Actor `json:"actor"`
	// Door is the only one where it holds.
	Door Door `json:"door"`
	// Ends is when it ends at the latest.
	Ends time.Time `json:"ends"`
	// Key is the id of the API key that the link was made with; empty for none. A session ends with it.
	Key string `json:"key,omitempty"`
	// Until is when the credential ends that the link was made with; zero: it has no end of its own.
	Until time.Time `json:"until,omitzero"`
}
