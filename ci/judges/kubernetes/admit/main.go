// Asks the kubelet's own code whether it takes a pod: the predicate handler with the handler of critical pods, as `pkg/kubelet/kubelet.go`
// puts them together, and the eviction manager's and the sysctls' answers before.
//
// Reads worlds from standard input, one JSON document each: `{node, pods, pod}`. Writes a line for each: `{admit, reason, message, victims}`,
// where victims are the names of the pods that have to go, in their order.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"os"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/preemption"
	"k8s.io/kubernetes/pkg/kubelet/sysctl"
	schedulerframework "k8s.io/kubernetes/pkg/scheduler/framework"
)

type world struct {
	Node *v1.Node  `json:"node"`
	Pods []*v1.Pod `json:"pods"`
	Pod  *v1.Pod   `json:"pod"`
}

type verdict struct {
	Admit   bool     `json:"admit"`
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	Victims []string `json:"victims"`
}

func judge(asked world, handlers []lifecycle.PodAdmitHandler) verdict {
	answer := verdict{Admit: true, Victims: []string{}}
	node := func(context.Context, bool) (*v1.Node, error) { return asked.Node, nil }
	pods := func() []*v1.Pod { return asked.Pods }
	kill := func(pod *v1.Pod, _ bool, _ *int64, _ func(*v1.PodStatus)) error {
		answer.Victims = append(answer.Victims, pod.Name)
		return nil
	}
	critical := preemption.NewCriticalPodAdmissionHandler(pods, kill, &record.FakeRecorder{})
	// No device plugin has registered.
	devices := func(*schedulerframework.NodeInfo, *lifecycle.PodAdmitAttributes) error { return nil }
	all := append(append([]lifecycle.PodAdmitHandler{}, handlers...), lifecycle.NewPredicateAdmitHandler(node, critical, devices))
	for _, handler := range all {
		result := handler.Admit(&lifecycle.PodAdmitAttributes{Pod: asked.Pod, OtherPods: asked.Pods})
		if !result.Admit {
			answer.Admit, answer.Reason, answer.Message = false, result.Reason, result.Message
			break
		}
	}
	return answer
}

func main() {
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	sysctls, err := sysctl.NewAllowlist(sysctl.SafeSysctlAllowlist(context.Background()))
	if err != nil {
		log.Fatal(err)
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for {
		var asked world
		if err := in.Decode(&asked); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(judge(asked, []lifecycle.PodAdmitHandler{sysctls})); err != nil {
			log.Fatal(err)
		}
	}
}
