package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin binds a process to the processors from first to before last.
func pin(pid, first, last int) error {
	var set unix.CPUSet
	for cpu := first; cpu < last; cpu++ {
		set.Set(cpu)
	}
	return eachThread(pid, func(id int) error { return unix.SchedSetaffinity(id, &set) })
}

func eachThread(pid int, do func(id int) error) error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if err := do(id); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("thread %d: %w", id, err)
		}
	}
	return nil
}
