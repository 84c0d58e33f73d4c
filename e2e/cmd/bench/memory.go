package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// filesPerAttempt is how many open files an attempt in flight takes in the gateway and in the runner: in and out.
	filesPerAttempt = 2
	// filesApart is how many they need for everything else.
	filesApart = 800
	// inFlightPerSubscription is the most that a subscription may ask for.
	inFlightPerSubscription = 1000
	// hold is how long the attempts are watched once all of them are in flight.
	hold = 5 * time.Second
)

// memory is figure d.
func (b *bench) memory(ctx context.Context) error {
	want := b.hanging
	running, err := findProcesses(b.runDir)
	if err != nil {
		return err
	}
	b.filesLimit = openFilesLimit(running["gateway"][0])
	want = min(want, (b.filesLimit-filesApart)/filesPerAttempt)
	if os.Getenv("E2E_STACK") != "" {
		// Fresh processes: a heap that has once been large would hide what the attempts take.
		if err := b.restart(ctx); err != nil {
			return err
		}
	}
	idle, full, hanging, err := b.fill(ctx, want)
	if err != nil {
		return err
	}
	b.reportMemory(idle, full, hanging)
	return nil
}

// resident is the memory of each process of ours, in bytes.
type resident map[string]int64

func (r resident) sum() (sum int64) {
	for _, bytes := range r {
		sum += bytes
	}
	return sum
}

func residentNow(running processes) resident {
	now := resident{}
	for _, name := range ours {
		now[name] = running.rss(name)
	}
	return now
}

// fill brings attempts into flight. It returns the memory before, the most with all of them in flight, and how many.
func (b *bench) fill(ctx context.Context, want int) (idle, full resident, hanging int64, err error) {
	running, err := findProcesses(b.runDir)
	if err != nil {
		return nil, nil, 0, err
	}
	if _, err := b.runThrough(ctx, b.pipelines()[0], warmUp); err != nil {
		return nil, nil, 0, err
	}
	idle = residentNow(running)
	subs, err := b.subscribeOthers(ctx, (want+inFlightPerSubscription-1)/inFlightPerSubscription, pathHang,
		map[string]any{"max_in_flight": inFlightPerSubscription, "timeouts": map[string]string{"header": "55s", "total": "55s"}})
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, b.endOthers(ctx, subs)) }()
	p := b.loadTo(subs, 0).pipeline
	if err := publishAll(ctx, p, b.newRound(), want); err != nil {
		return nil, nil, 0, err
	}
	full, hanging, err = b.watch(ctx, running, int64(want))
	return idle, full, hanging, err
}

// watch waits until as many attempts hang as are wanted, or no more come, and returns the most memory seen from then on.
func (b *bench) watch(ctx context.Context, running processes, want int64) (full resident, hanging int64, err error) {
	var since time.Time // when hanging grew last
	full = resident{}
	err = poll(ctx, time.Minute, "the number of attempts in flight does not settle", func() (bool, error) {
		got, err := b.receiver.now(ctx)
		if err != nil {
			return false, err
		}
		if got.Hanging > hanging {
			hanging, since = got.Hanging, time.Now()
		}
		if now := residentNow(running); got.Hanging >= hanging*98/100 && now.sum() > full.sum() {
			full = now
		}
		return hanging > 0 && time.Since(since) > hold, nil
	})
	if hanging < want {
		fmt.Fprintf(os.Stderr, "  only %d of %d attempts are in flight\n", hanging, want)
	}
	return full, hanging, err
}

func (b *bench) reportMemory(idle, full resident, hanging int64) {
	t := table{Figure: "d", Title: fmt.Sprintf("memory with %d attempts in flight to endpoints that hang", hanging),
		Columns: []string{"idle, MiB", "in flight, MiB", "per attempt, KiB"}}
	for _, name := range ours {
		t.Rows = append(t.Rows, memoryRow(name, idle[name], full[name], hanging))
	}
	all := memoryRow("all of them", idle.sum(), full.sum(), hanging)
	t.Rows = append(t.Rows, all)
	if int(hanging) < b.hanging {
		t.Notes = append(t.Notes, fmt.Sprintf("fewer than %d: a process may open %d files here, and an attempt takes %d in the gateway and in the runner",
			b.hanging, b.filesLimit, filesPerAttempt))
	}
	b.report.add(t)
	b.report.atMost("d", "KiB per attempt in flight, over all our processes", all.Values[2], 64)
	b.report.atLeast("d", "attempts in flight", float64(hanging), 9000)
}

func memoryRow(name string, idle, full, attempts int64) row {
	return row{name, []float64{float64(idle) / (1 << 20), float64(full) / (1 << 20), float64(full-idle) / float64(attempts) / (1 << 10)}}
}
