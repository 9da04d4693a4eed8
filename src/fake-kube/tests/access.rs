//! Who may do what, and in which words the others are told so.

mod common;

use common::{World, start};
use fake_kube::{Config, User};
use rstest::rstest;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn world() -> World {
    let user = |name: &str| User { name: name.to_owned(), uid: String::new(), groups: vec!["system:authenticated".to_owned()] };
    let tokens = vec![("root".to_owned(), User::administrator()), ("jane".to_owned(), user("jane")), ("joe".to_owned(), user("joe"))];
    let mut world = World::with(Config { start: start(), tokens, secret: b"secret".to_vec(), rbac: true, ..Config::default() });
    // One of them gathers the rules of `view`.
    for controller in fake_kube::controllers::all(1) {
        world.kube.add_controller(controller);
    }
    let role = json!({ "metadata": { "name": "reader" }, "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] }] });
    world.make(&format!("{RBAC}/namespaces/default/roles"), role);
    let subjects = json!([{ "kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io" }]);
    let binding = |name: &str, kind: &str, role: &str| json!({ "metadata": { "name": name }, "subjects": subjects, "roleRef": { "kind": kind, "name": role, "apiGroup": "rbac.authorization.k8s.io" } });
    world.make(&format!("{RBAC}/namespaces/default/rolebindings"), binding("read", "Role", "reader"));
    world.make("/api/v1/namespaces", json!({ "metadata": { "name": "other" } }));
    world.make(&format!("{RBAC}/namespaces/other/rolebindings"), binding("look", "ClusterRole", "view"));
    world
}

fn ask(world: &mut World, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {token}")).body(text.into()).unwrap();
    world.kube.submit(world.now, request);
    let outs = world.kube.advance(world.now);
    let reply = outs.into_iter().find_map(|out| if let fake_kube::Out::Reply(_, reply) = out { Some(reply) } else { None }).unwrap();
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

// The words are those of kube-apiserver 1.36.3.
#[rstest]
#[case::own("jane", "GET", PODS, 200, "")]
#[case::not_this_verb(
    "jane",
    "DELETE",
    "/api/v1/namespaces/default/pods/p",
    403,
    "pods \"p\" is forbidden: User \"jane\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\""
)]
#[case::not_this_place(
    "jane",
    "GET",
    "/api/v1/pods",
    403,
    "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
)]
#[case::not_the_subresource(
    "jane",
    "GET",
    "/api/v1/namespaces/default/pods/p/log",
    403,
    "pods \"p\" is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"default\""
)]
#[case::a_gathering_role("jane", "GET", "/apis/apps/v1/namespaces/other/deployments", 200, "")]
#[case::which_gives_no_secrets(
    "jane",
    "GET",
    "/api/v1/namespaces/other/secrets",
    403,
    "secrets is forbidden: User \"jane\" cannot list resource \"secrets\" in API group \"\" in the namespace \"other\""
)]
#[case::nobody(
    "joe",
    "GET",
    "/apis/apps/v1/deployments",
    403,
    "deployments.apps is forbidden: User \"joe\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope"
)]
#[case::discovery("joe", "GET", "/apis", 200, "")]
#[case::a_path("joe", "GET", "/metrics", 403, "forbidden: User \"joe\" cannot get path \"/metrics\"")]
#[case::masters("root", "GET", "/api/v1/secrets", 200, "")]
#[case::a_stranger("nobody's", "GET", "/api", 401, "Unauthorized")]
fn may(#[case] who: &str, #[case] method: &str, #[case] path: &str, #[case] code: u16, #[case] words: &str) {
    let (found, body) = ask(&mut world(), who, method, path, &Value::Null);
    assert_eq!((found, body["message"].as_str().unwrap_or_default()), (code, words));
}

#[test]
fn a_binding_to_a_role_that_is_missing_is_named() {
    let mut world = world();
    let subjects = json!([{ "kind": "User", "name": "joe", "apiGroup": "rbac.authorization.k8s.io" }]);
    let role = json!({ "kind": "ClusterRole", "name": "absent", "apiGroup": "rbac.authorization.k8s.io" });
    world.make(&format!("{RBAC}/clusterrolebindings"), json!({ "metadata": { "name": "b" }, "subjects": subjects, "roleRef": role }));
    let (_, body) = ask(&mut world, "joe", "GET", PODS, &Value::Null);
    let expected = "pods is forbidden: User \"joe\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": RBAC: clusterrole.rbac.authorization.k8s.io \"absent\" not found";
    assert_eq!(body["message"], expected);
}

#[test]
fn reviews_answer_as_requests_would_be_answered() {
    let mut world = world();
    let review = |user: &str, verb: &str| json!({ "spec": { "user": user, "resourceAttributes": { "verb": verb, "resource": "pods", "namespace": "default" } } });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let mut status = |user: &str, verb: &str| ask(&mut world, "root", "POST", path, &review(user, verb)).1["status"].clone();
    assert_eq!(status("jane", "list")["reason"], "RBAC: allowed by RoleBinding \"read/default\" of Role \"reader\" to User \"jane\"");
    assert_eq!(status("jane", "create"), json!({ "allowed": false }));
    assert_eq!(status("joe", "list")["allowed"], false);
    let own = json!({ "spec": { "resourceAttributes": { "verb": "list", "resource": "pods", "namespace": "default" } } });
    let (code, body) = ask(&mut world, "jane", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &own);
    assert_eq!((code, &body["status"]["allowed"]), (201, &json!(true)));
    assert_eq!(ask(&mut world, "root", "POST", path, &json!({ "spec": {} })).0, 422);
}

#[test]
fn a_service_account_s_token_is_its_own_until_it_expires_or_the_account_goes() {
    let mut world = world();
    world.make("/api/v1/namespaces/default/serviceaccounts", json!({ "metadata": { "name": "robot" } }));
    let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let (code, short) = ask(&mut world, "root", "POST", path, &json!({ "spec": { "expirationSeconds": 5 } }));
    assert_eq!((code, short["message"].as_str().unwrap().contains("may not specify a duration less than 10 minutes")), (422, true));
    let (_, reply) = ask(&mut world, "root", "POST", path, &json!({ "spec": { "expirationSeconds": 600 } }));
    let token = reply["status"]["token"].as_str().unwrap().to_owned();
    let (code, body) = ask(&mut world, &token, "GET", PODS, &Value::Null);
    assert_eq!(code, 403);
    assert!(body["message"].as_str().unwrap().contains("User \"system:serviceaccount:default:robot\" cannot list"), "{body}");
    let review = |world: &mut World, token: &str| {
        ask(world, "root", "POST", "/apis/authentication.k8s.io/v1/tokenreviews", &json!({ "spec": { "token": token } })).1["status"]
            .clone()
    };
    assert_eq!(review(&mut world, &token)["user"]["username"], "system:serviceaccount:default:robot");
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert_eq!(review(&mut world, &forged)["error"], "invalid bearer token");
    world.pass(601);
    assert_eq!(ask(&mut world, &token, "GET", PODS, &Value::Null).0, 401);
}

#[test]
fn whoever_may_impersonate_is_judged_as_the_other() {
    let mut world = world();
    let mut as_jane = |token: &str| {
        let request =
            http::Request::get("/api/v1/pods").header("authorization", format!("Bearer {token}")).header("impersonate-user", "jane");
        world.kube.submit(world.now, request.body(bytes::Bytes::new()).unwrap());
        let outs = world.kube.advance(world.now);
        outs.into_iter()
            .find_map(|out| {
                if let fake_kube::Out::Reply(_, reply) = out { Some(String::from_utf8_lossy(reply.body()).into_owned()) } else { None }
            })
            .unwrap()
    };
    assert!(as_jane("root").contains("User \\\"jane\\\" cannot list"));
    assert!(as_jane("joe").contains("User \\\"joe\\\" cannot impersonate resource \\\"users\\\""));
}

/// Joe may write roles and bindings, and read pods.
fn clerk() -> World {
    let mut world = world();
    let rules = json!([
        { "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
    ]);
    world.make(&format!("{RBAC}/clusterroles"), json!({ "metadata": { "name": "clerk" }, "rules": rules }));
    let subjects = json!([{ "kind": "User", "name": "joe", "apiGroup": "rbac.authorization.k8s.io" }]);
    let of = json!({ "kind": "ClusterRole", "name": "clerk", "apiGroup": "rbac.authorization.k8s.io" });
    world.make(&format!("{RBAC}/clusterrolebindings"), json!({ "metadata": { "name": "clerk" }, "subjects": subjects, "roleRef": of }));
    world
}

// The words are those of kube-apiserver 1.36.3; ci/controllers compares them.
#[rstest]
#[case::what_joe_has(json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] }]), 201, "")]
#[case::more(
    json!([{ "apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "delete"] }]),
    403,
    "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"joe\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not \
     currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}"
)]
fn nobody_hands_out_more_than_they_have(#[case] rules: Value, #[case] code: u16, #[case] words: &str) {
    let mut world = clerk();
    let role = json!({ "metadata": { "name": "r" }, "rules": rules });
    let (found, said) = ask(&mut world, "joe", "POST", &format!("{RBAC}/namespaces/default/roles"), &role);
    assert_eq!((found, if code == 403 { said["message"].as_str().unwrap() } else { "" }), (code, words));
}

#[rstest]
#[case::the_same("Role", "reader", 403)]
#[case::everything("ClusterRole", "cluster-admin", 403)]
#[case::own("ClusterRole", "clerk", 201)]
#[case::nothing("Role", "absent", 404)]
fn nobody_binds_a_role_beyond_their_own(#[case] kind: &str, #[case] role: &str, #[case] code: u16) {
    let mut world = clerk();
    let of = json!({ "kind": kind, "name": role, "apiGroup": "rbac.authorization.k8s.io" });
    let subjects = json!([{ "kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io" }]);
    let binding = json!({ "metadata": { "name": "b" }, "subjects": subjects, "roleRef": of });
    let (found, said) = ask(&mut world, "joe", "POST", &format!("{RBAC}/namespaces/default/rolebindings"), &binding);
    assert_eq!(found, code, "{said}");
}

#[test]
fn a_role_that_gathers_others_says_what_they_allow() {
    let mut world = world();
    let selector = json!({ "clusterRoleSelectors": [{ "matchLabels": { "to": "all" } }] });
    world.make(&format!("{RBAC}/clusterroles"), json!({ "metadata": { "name": "all" }, "aggregationRule": selector, "rules": [] }));
    let rules = json!([{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] }]);
    world.make(&format!("{RBAC}/clusterroles"), json!({ "metadata": { "name": "one", "labels": { "to": "all" } }, "rules": rules }));
    world.kube.advance(world.now);
    assert_eq!(world.get(&format!("{RBAC}/clusterroles/all"))["rules"], rules);
    world.ask("DELETE", &format!("{RBAC}/clusterroles/one"), Value::Null);
    world.kube.advance(world.now);
    assert!(world.get(&format!("{RBAC}/clusterroles/all"))["rules"].as_array().is_none_or(Vec::is_empty));
}
