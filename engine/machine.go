package engine

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryForProcess is how much memory this process may use: what GOMEMLIMIT
// says, else the smallest of the machine's memory and the limits of the
// process's control groups. It is 0 where the system does not say.
func memoryForProcess() int64 {
	if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
		return limit
	}
	return memoryOfSystem(os.ReadFile)
}

// memoryOfSystem asks Linux. Control groups are a tree, and each of the groups
// above the process's own limits it, too.
func memoryOfSystem(read func(name string) ([]byte, error)) int64 {
	least := int64(0)
	atMost := func(n int64) {
		if n > 0 && (least == 0 || n < least) {
			least = n
		}
	}
	number := func(name string) int64 {
		text, err := read(name)
		if err != nil {
			return 0
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil { // "max"
			return 0
		}
		return n
	}
	if info, err := read("/proc/meminfo"); err == nil {
		for lines := bufio.NewScanner(bytes.NewReader(info)); lines.Scan(); {
			if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "MemTotal:" && f[2] == "kB" {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				atMost(n << 10)
			}
		}
	}
	groups, err := read("/proc/self/cgroup")
	if err != nil {
		return least
	}
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		parts := strings.SplitN(lines.Text(), ":", 3) // number : controllers : group
		if len(parts) != 3 {
			continue
		}
		root, file := "/sys/fs/cgroup", "memory.max"
		if parts[1] != "" { // version 1: a tree for each controller
			if parts[1] != "memory" {
				continue
			}
			root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		// In a container the group may be named as the host sees it, but stand at the root.
		for group := path.Clean("/" + parts[2]); ; group = path.Dir(group) {
			atMost(number(path.Join(root, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return least
}
