package engine

import (
	"io/fs"
	"testing"
)

func TestMemoryOfSystem(t *testing.T) {
	const machine = "MemTotal:       16000000 kB\nMemFree:  1 kB\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing is known", nil, 0},
		{"no control groups", map[string]string{"/proc/meminfo": machine}, 16000000 << 10},
		{"the group of a service", map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/system.slice/wend.service\n",
			"/sys/fs/cgroup/system.slice/wend.service/memory.max": "1000000000\n", "/sys/fs/cgroup/system.slice/memory.max": "max\n"}, 1000000000},
		{"a group above it", map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/system.slice/wend.service\n",
			"/sys/fs/cgroup/system.slice/wend.service/memory.max": "max\n", "/sys/fs/cgroup/system.slice/memory.max": "2000000000\n"}, 2000000000},
		{"a container", map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "0::/docker/4711\n", "/sys/fs/cgroup/memory.max": "500000000\n"}, 500000000},
		{"version 1, unlimited", map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "3:cpu:/a\n4:memory:/a\n",
			"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 16000000 << 10},
		{"version 1", map[string]string{"/proc/meminfo": machine, "/proc/self/cgroup": "3:cpu:/a\n4:memory:/a\n",
			"/sys/fs/cgroup/memory/a/memory.limit_in_bytes": "300000000\n"}, 300000000},
	} {
		got := memoryOfSystem(func(name string) ([]byte, error) {
			if text, ok := c.files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
