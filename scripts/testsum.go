//go:build ignore

// Testsum reads what `go test -json` prints and says what matters of it: a line for each package, and the whole output of
// tests that failed. The last line counts tests, subtests included; `make test` adds such lines up.
//
//	go test -json ./... | go run scripts/testsum.go
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of output of the compiler
	Elapsed                       float64
}

func main() {
	var passed, failed, broken int
	output := map[string][]string{} // by package and test; by import path for the compiler's
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // of the go command itself
			continue
		}
		key := e.ImportPath + e.Package + "\x00" + e.Test
		switch e.Action {
		case "output", "build-output":
			output[key] = append(output[key], e.Output)
		case "build-fail":
			fmt.Print(strings.Join(output[key], ""))
		case "pass", "fail", "skip":
			switch {
			case e.Test == "" && e.Action == "fail":
				broken++
				fmt.Print(strings.Join(output[key], ""))
			case e.Test == "" && e.Action == "pass":
				fmt.Printf("ok    %-70s %6.1f s\n", e.Package, e.Elapsed)
			case e.Test != "" && e.Action == "fail":
				failed++
				fmt.Print(strings.Join(output[key], ""))
			case e.Test != "" && e.Action == "pass":
				passed++
			case e.Test != "" && e.Action == "skip":
				fmt.Printf("SKIPPED %s: %s\n", e.Test, reason(output[key]))
			}
			delete(output, key)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("testsum:", err)
		broken++
	}
	if broken > 0 && failed == 0 {
		failed = broken // packages that do not compile, or ended before their tests did
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if broken+failed > 0 {
		os.Exit(1)
	}
}

// reason finds what a skipped test has said.
func reason(lines []string) string {
	for _, l := range lines {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "===") && !strings.HasPrefix(l, "---") {
			return l
		}
	}
	return "no reason given"
}
