// Command oracle asks Karpenter's own scheduling package what it would create.
//
// It reads one world a line on stdin, {"snapshot": …, "offerings": …, "options": …} as the planner's input types serialise, or with
// {"objects": […]} in place of the snapshot, which then go through upstream's whole provisioner, and
// answers each with one line: NodeClaims with their pods, instance types in order of price, requirements, requests and labels;
// pods that existing nodes take; pods that nothing takes, with upstream's words.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	worlds := bufio.NewScanner(os.Stdin)
	worlds.Buffer(make([]byte, 1<<20), 1<<30)
	answers := json.NewEncoder(os.Stdout)
	for worlds.Scan() {
		var world World
		if err := json.Unmarshal(worlds.Bytes(), &world); err != nil {
			fail(fmt.Errorf("reading a world: %w", err))
		}
		answer, err := solve(&world)
		if err != nil {
			fail(fmt.Errorf("solving a world: %w", err))
		}
		if err := answers.Encode(answer); err != nil {
			fail(fmt.Errorf("writing an answer: %w", err))
		}
	}
	if err := worlds.Err(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "oracle:", err)
	os.Exit(3)
}
