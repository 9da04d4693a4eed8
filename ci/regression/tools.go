//go:build tools

package regression

import (
	_ "sigs.k8s.io/karpenter/test/pkg/environment/common"
	_ "sigs.k8s.io/karpenter/test/suites/regression"
)
