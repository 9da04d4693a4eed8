// Encodes objects as client-go sends them: the `protobuf` of a step in src/fake-kube/tests/replay/*.json becomes its `bytes`.
//
//	cd ci/generate/kube-bodies && go run . ../../../src/fake-kube/tests/replay/protobuf.json
//
// A step whose `bytes` are there without a `protobuf` is left alone: those are broken by hand.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("usage: kube-bodies FILE"))
	}
	text, err := os.ReadFile(os.Args[1])
	fail(err)
	out := &bytes.Buffer{}
	for _, line := range bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n")) {
		comma := bytes.HasSuffix(line, []byte(","))
		step := map[string]json.RawMessage{}
		// The first line and the last are no steps.
		if json.Unmarshal(bytes.TrimSuffix(line, []byte(",")), &step) == nil && step["protobuf"] != nil {
			encoded, err := json.Marshal(encode(step["protobuf"]))
			fail(err)
			line = set(bytes.TrimSuffix(line, []byte(",")), encoded)
			if comma {
				line = append(line, ',')
			}
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	fail(os.WriteFile(os.Args[1], out.Bytes(), 0o644))
}

// set puts `bytes` behind the first brace, in place of the one that is there, and leaves the rest of the line as it is.
func set(line, encoded []byte) []byte {
	rest := line[1:]
	if bytes.HasPrefix(rest, []byte(`"bytes":`)) {
		rest = rest[bytes.Index(rest, []byte(`",`))+2:]
	}
	return append(append(append([]byte(`{"bytes":`), encoded...), ','), rest...)
}

func encode(object []byte) []byte {
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	var kind metav1.TypeMeta
	fail(json.Unmarshal(object, &kind))
	decoded, err := runtime.Decode(codecs.UniversalDeserializer(), object)
	fail(err)
	version, err := schema.ParseGroupVersion(kind.APIVersion)
	fail(err)
	writer := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	encoded, err := runtime.Encode(codecs.EncoderForVersion(writer, version), decoded)
	fail(err)
	return encoded
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
