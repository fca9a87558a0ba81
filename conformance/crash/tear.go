package crash

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// tear takes the last commits out of the write-ahead log of a SQLite database, as a power cut does to a program that
// acknowledges before it syncs. It returns how many commits were there, and how many it took. What remains is a sound
// database, a moment older. (The format: sqlite.org/fileformat2.html#walformat, read 2026-11.)
func tear(dataDir string, share float64) (commits, taken int, err error) {
	path, ends, err := logged(dataDir)
	if err != nil || len(ends) == 0 {
		return 0, 0, err
	}
	commits = len(ends) - 1
	taken = int(share * float64(commits))
	return commits, taken, os.Truncate(path, int64(ends[commits-taken]))
}

// logged finds the write-ahead log, and where the commits in it end; the first place is that of its header.
func logged(dataDir string) (path string, ends []int, err error) {
	found, err := filepath.Glob(filepath.Join(dataDir, "database", "*-wal"))
	if err != nil || len(found) != 1 {
		return "", nil, fmt.Errorf("find the write-ahead log: %d files, %v", len(found), err)
	}
	log, err := os.ReadFile(found[0])
	if err != nil {
		return "", nil, err
	}
	const header, frameHeader = 32, 24
	if len(log) < header {
		return found[0], nil, nil
	}
	frame := frameHeader + int(binary.BigEndian.Uint32(log[8:]))
	salt := string(log[16:24])
	ends = []int{header}
	for at := header; at+frame <= len(log); at += frame {
		if string(log[at+8:at+16]) != salt {
			break // left from an earlier round of the log
		}
		if binary.BigEndian.Uint32(log[at+4:]) != 0 { // the last frame of a commit
			ends = append(ends, at+frame)
		}
	}
	return found[0], ends, nil
}
