package delivery

import "sync"

// inbox hands tasks from many goroutines to one. It does not block who puts: what is in it is bounded by what the broker
// hands out.
type inbox struct {
	mu    sync.Mutex
	tasks []*task
	more  chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (i *inbox) put(tasks ...*task) {
	if len(tasks) == 0 {
		return
	}
	i.mu.Lock()
	i.tasks = append(i.tasks, tasks...)
	i.mu.Unlock()
	select {
	case i.more <- struct{}{}:
	default:
	}
}

func (i *inbox) size() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.tasks)
}

// take returns up to n tasks without waiting; more says when to ask again.
func (i *inbox) take(n int) []*task {
	i.mu.Lock()
	defer i.mu.Unlock()
	n = min(n, len(i.tasks))
	taken := append([]*task(nil), i.tasks[:n]...)
	clear(i.tasks[:n])
	if i.tasks = i.tasks[n:]; len(i.tasks) == 0 {
		i.tasks = nil
	}
	return taken
}
