package delivery

import (
	"slices"
	"sync"
	"time"
)

// rest keeps commands for a short time.
type rest struct {
	now func() time.Time

	mu    sync.Mutex
	tasks []resting
}

type resting struct {
	task  *task
	until time.Time
}

func (r *rest) add(t *task, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tasks = append(r.tasks, resting{t, r.now().Add(d)})
}

// over returns those that have rested.
func (r *rest) over() []*task {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tasks) == 0 {
		return nil
	}
	now := r.now()
	var done []*task
	r.tasks = slices.DeleteFunc(r.tasks, func(x resting) bool {
		if now.Before(x.until) {
			return false
		}
		done = append(done, x.task)
		return true
	})
	return done
}

// oldest is when the one arrived that is here the longest; zero: none is.
func (r *rest) oldest() (since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.tasks {
		since = earlier(since, x.task.arrived)
	}
	return since
}

// earlier ignores what is zero.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (r *rest) drain() []*task {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*task, len(r.tasks))
	for i, x := range r.tasks {
		all[i] = x.task
	}
	r.tasks = nil
	return all
}
