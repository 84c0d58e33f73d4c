package metrics

import (
	"sync"
	"sync/atomic"
)

const (
	// Other is the label of what has no other: a resource that does not exist, or one too many.
	Other = "other"
	// mostResources bounds the resources that have a label of their own in one process. Which ones they are, is which ones came
	// first.
	mostResources = 500
)

// Resources bounds the values of the label resource. Zero is ready for use.
type Resources struct {
	known sync.Map // name → name
	count atomic.Int64
}

// Label returns the label of a resource that exists: its name, or Other beyond so many. Never ask with what a stranger sent.
func (r *Resources) Label(resource string) string {
	if _, ok := r.known.Load(resource); ok {
		return resource
	}
	if r.count.Load() >= mostResources {
		return Other
	}
	if _, there := r.known.LoadOrStore(resource, nil); !there {
		r.count.Add(1)
	}
	return resource
}

// Known returns the label of a name that somebody sent: Other unless it was the label of a resource that exists before.
func (r *Resources) Known(name string) string {
	if _, ok := r.known.Load(name); ok {
		return name
	}
	return Other
}

// LabelIf is Label for a resource that exists, Other for one that does not.
func (r *Resources) LabelIf(exists bool, resource string) string {
	if !exists {
		return Other
	}
	return r.Label(resource)
}
