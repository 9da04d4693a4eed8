use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use super::lifetime::{alive, binaries};
use crate::local::{Binary, ControlPlane, Error, Options};

#[tokio::test]
#[ignore = "needs the judges' binaries"]
async fn serves_crds_admits_pods_and_ends_with_its_owner() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "joints.dryfit.test" },
        "spec": {
            "group": "dryfit.test", "scope": "Cluster", "names": { "kind": "Joint", "plural": "joints" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
        },
    });
    let options = Options { binaries: binaries(), workdir: folder.path().join("work"), crds: vec![crd] };
    let plane = ControlPlane::start(options).await.expect("a control plane");
    eprintln!("ready after {:?}", plane.ready_after);
    let client = plane.client().expect("a client");
    assert_eq!(client.apiserver_version().await.expect("a version").git_version, "v1.36.3");
    let joints = http::Request::get("/apis/dryfit.test/v1/joints").body(Vec::new()).expect("a request");
    client.request_text(joints).await.expect("the custom resource is served");
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let pod = json!({ "metadata": { "name": "one" }, "spec": { "containers": [{ "name": "c", "image": "pause" }] } });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("a pod is admitted at once");
    plane.check().expect("all components live");
    let processes = plane.processes();
    assert!(processes.iter().all(|(_, id)| alive(*id)));
    drop(plane);
    assert!(processes.iter().all(|(_, id)| !alive(*id)), "dropping ends every component before it returns");
}

#[tokio::test]
#[ignore = "needs the judges' binaries"]
async fn a_component_that_dies_early_is_shown_with_its_last_words() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let broken = folder.path().join("binaries");
    std::fs::create_dir(&broken).expect("a folder");
    for binary in Binary::CONTROL_PLANE {
        let name = binary.file_name();
        std::os::unix::fs::symlink(binaries().join(name), broken.join(name)).expect("a link");
    }
    std::fs::remove_file(broken.join("kube-apiserver")).expect("it was there");
    std::fs::write(broken.join("kube-apiserver"), "#!/bin/sh\necho no such luck\nexit 7\n").expect("a file");
    std::fs::set_permissions(broken.join("kube-apiserver"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let options = Options { binaries: broken, workdir: folder.path().join("work"), crds: Vec::new() };
    let error = ControlPlane::start(options).await.expect_err("the API server is broken");
    assert!(matches!(&error, Error::DiedEarly { component, .. } if component == "kube-apiserver"), "{error}");
    for part in ["no such luck", "exit status: 7", "ci/judges/build"] {
        assert!(error.to_string().contains(part), "{part} is not in: {error}");
    }
}
