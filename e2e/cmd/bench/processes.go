package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// ours are the processes of this project in a stack; what else is there is Redis, RabbitMQ and this bench.
var ours = []string{"callback-service", "gateway", "runner", "event-listener", "subscription-service"}

// processes maps the names of a stack's processes to their pids.
type processes map[string][]int

// findProcesses reads the pid files of a stack; the gateway's runner is its child.
func findProcesses(runDir string) (processes, error) {
	files, err := filepath.Glob(filepath.Join(runDir, "pid", "*.pid"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("%s holds no running stack: %w", runDir, errors.Join(err, os.ErrNotExist))
	}
	found := processes{}
	for _, file := range files {
		content, err := os.ReadFile(file) // #nosec G304 -- the stack's own pid file
		if err != nil {
			return nil, fmt.Errorf("reading a pid: %w", err)
		}
		first, _, _ := strings.Cut(string(content), "\n")
		pid, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		found[strings.TrimSuffix(filepath.Base(file), ".pid")] = []int{pid}
	}
	if gateway := found["gateway"]; len(gateway) > 0 {
		found["runner"] = childrenOf(gateway[0])
	}
	return found, nil
}

func childrenOf(parent int) (children []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is fine
	for _, file := range stats {
		fields, err := statFields(file)
		if err == nil && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			children = append(children, pid)
		}
	}
	return children
}

// with adds a process of the bench's own.
func (p processes) with(name string, pid int) processes {
	more := maps.Clone(p)
	more[name] = []int{pid}
	return more
}

// cpu is the CPU time that each has used so far. One that has ended used none.
func (p processes) cpu() map[string]time.Duration {
	used := map[string]time.Duration{}
	for name, pids := range p {
		for _, pid := range pids {
			if fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
				used[name] += ticks(fields[11]) + ticks(fields[12]) // utime, stime
			}
		}
	}
	return used
}

// statFields are those of /proc/PID/stat from the third on; the second, a name, may hold blanks.
func statFields(file string) ([]string, error) {
	content, err := os.ReadFile(file) // #nosec G304 -- of /proc
	if err != nil {
		return nil, fmt.Errorf("reading a process's state: %w", err)
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 20 {
		return nil, fmt.Errorf("%s is not what it was on other Linuxes", file)
	}
	return fields, nil
}

func ticks(field string) time.Duration {
	n, _ := strconv.ParseInt(field, 10, 64)
	return time.Duration(n) * tick
}

// machineCPU is the time that all CPUs have been busy, by whomever.
func machineCPU() time.Duration {
	content, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(content), "\n")
	var busy time.Duration
	for i, field := range strings.Fields(first) {
		if slices.Contains([]int{1, 2, 3, 6, 7, 8}, i) { // user, nice, system, irq, softirq, steal
			busy += ticks(field)
		}
	}
	return busy
}

// rss is the resident memory of processes, in bytes.
func (p processes) rss(names ...string) (sum int64) {
	for _, name := range names {
		for _, pid := range p[name] {
			sum += residentOf(pid)
		}
	}
	return sum
}

func residentOf(pid int) int64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kib), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// openFilesLimit is how many files a process may have open at most.
func openFilesLimit(pid int) int {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	for line := range strings.Lines(string(content)) {
		if fields, ok := strings.CutPrefix(line, "Max open files"); ok {
			soft, _ := strconv.Atoi(strings.Fields(fields)[0])
			return soft
		}
	}
	return 0
}
