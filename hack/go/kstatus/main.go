// What does kstatus, by which Flux, Argo and kpt judge readiness, say about a Kubernetes object?
//
// Reads one object as JSON from standard input, prints its status (Current, InProgress, Failed, Terminating, NotFound or
// Unknown), a tab and the message.
package main

import (
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// Its own decoder makes whole numbers integers, as the judge wants them.
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("no Kubernetes object in JSON on standard input: %w", err)
	}
	result, err := status.Compute(&object)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s\t%s\n", result.Status, result.Message)
	return err
}
