//! SSM.

use rstest::rstest;
use serde_json::{Value, json};

use super::{Answer, Desk, code, texts};
use crate::model::Service;

fn ssm(desk: &mut Desk, operation: &'static str, input: Value) -> Answer {
    desk.ask(Service::Ssm, operation, input)
}

#[rstest]
#[case("/aws/service/eks/optimized-ami/1.30/amazon-linux-2/recommended/image_id")]
#[case("/aws/service/eks/optimized-ami/1.32/amazon-linux-2-gpu/recommended/image_id")]
#[case("/aws/service/eks/optimized-ami/1.31/amazon-linux-2-arm64/amazon-eks-arm64-node-1.31-v20260904/image_id")]
#[case("/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/nvidia/recommended/image_id")]
#[case(
    "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/standard/amazon-eks-node-al2023-x86_64-standard-1.34-v20260918/image_id"
)]
#[case("/aws/service/bottlerocket/aws-k8s-1.36/x86_64/latest/image_id")]
#[case("/aws/service/bottlerocket/aws-k8s-1.35-nvidia/arm64/1.50.0/image_id")]
#[case("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64")]
fn public_parameters_lead_to_images(#[case] name: &str) {
    let mut desk = Desk::new();
    let value = ssm(&mut desk, "GetParameter", json!({"Name": name})).expect("a parameter")["Parameter"]["Value"].clone();
    let images = desk.ec2("DescribeImages", json!({"ImageIds": [value]})).expect("an image");
    assert_eq!(images["Images"][0]["ImageId"], value);
}

#[test]
fn parameters_are_put_and_overwritten() {
    let mut desk = Desk::new();
    let put = |value: &str, overwrite: bool| json!({"Name": "/my/ami", "Value": value, "Type": "String", "Overwrite": overwrite});
    assert_eq!(ssm(&mut desk, "PutParameter", put("ami-1", false)).expect("put")["Version"], 1);
    assert_eq!(code(&ssm(&mut desk, "PutParameter", put("ami-2", false))), "ParameterAlreadyExists");
    assert_eq!(ssm(&mut desk, "PutParameter", put("ami-2", true)).expect("put")["Version"], 2);
    let found = ssm(&mut desk, "GetParameter", json!({"Name": "/my/ami"})).expect("a parameter");
    assert_eq!(
        (&found["Parameter"]["Value"], &found["Parameter"]["ARN"]),
        (&json!("ami-2"), &json!("arn:aws:ssm:us-west-2:123456789012:parameter/my/ami"))
    );
    let several = ssm(&mut desk, "GetParameters", json!({"Names": ["/my/ami", "/absent"]})).expect("parameters");
    assert_eq!((several["Parameters"].as_array().map(Vec::len), &several["InvalidParameters"]), (Some(1), &json!(["/absent"])));
    ssm(&mut desk, "DeleteParameter", json!({"Name": "/my/ami"})).expect("deleted");
    assert_eq!(code(&ssm(&mut desk, "GetParameter", json!({"Name": "/my/ami"}))), "ParameterNotFound");
}

#[test]
fn a_path_is_walked_in_pages() {
    let mut desk = Desk::new();
    let (mut names, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut input = json!({"Path": "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/", "Recursive": true});
        if let Some(token) = &token {
            input["NextToken"] = json!(token);
        }
        let page = ssm(&mut desk, "GetParametersByPath", input).expect("a page");
        assert!(page["Parameters"].as_array().is_some_and(|list| list.len() <= 10));
        names.extend(texts(&page["Parameters"], "Name"));
        token = page["NextToken"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    // Five variants, each with two releases and the recommended one, of four parameters.
    assert_eq!(names.len(), 5 * 3 * 4);
    assert!(names.is_sorted());
}

#[rstest]
#[case("GetParameter", json!({"Name": "/aws/service/eks/optimized-ami/1.33/amazon-linux-2/recommended/image_id"}), "ParameterNotFound")]
#[case("PutParameter", json!({"Name": "/aws/mine", "Value": "v", "Type": "String"}), "AccessDeniedException")]
#[case("PutParameter", json!({"Name": "mine", "Value": "v"}), "ValidationException")]
#[case("GetParametersByPath", json!({"Path": "nonsense"}), "ValidationException")]
#[case("GetParametersByPath", json!({"Path": "/", "MaxResults": 11}), "ValidationException")]
#[case("GetParametersByPath", json!({"Path": "/", "NextToken": "nonsense"}), "InvalidNextToken")]
fn refused(#[case] operation: &'static str, #[case] input: Value, #[case] expected: &str) {
    assert_eq!(code(&ssm(&mut Desk::new(), operation, input)), expected);
}

#[test]
fn the_accounts_own_parameters_are_described() {
    let mut desk = Desk::new();
    for (name, kind) in [("/app/a", "String"), ("/app/deep/b", "SecureString"), ("other", "String")] {
        desk.ask(Service::Ssm, "PutParameter", json!({"Name": name, "Type": kind, "Value": "v"})).expect("put");
    }
    let mut names = |filters: serde_json::Value| {
        let answer = desk.ask(Service::Ssm, "DescribeParameters", json!({"ParameterFilters": filters}));
        answer.map(|answer| texts(&answer["Parameters"], "Name"))
    };
    let all = names(json!([])).expect("parameters");
    assert_eq!(all, ["/app/a", "/app/deep/b", "other"], "AWS's public ones are not among them");
    let by = |key: &str, option: &str, value: &str| json!([{"Key": key, "Option": option, "Values": [value]}]);
    assert_eq!(names(by("Name", "BeginsWith", "/app")).expect("parameters").len(), 2);
    assert_eq!(names(by("Type", "Equals", "SecureString")).expect("parameters"), ["/app/deep/b"]);
    assert_eq!(names(by("Path", "OneLevel", "/app")).expect("parameters"), ["/app/a"]);
    assert_eq!(names(by("Path", "Recursive", "/app")).expect("parameters").len(), 2);
    assert_eq!(names(by("Colour", "Equals", "red")).expect_err("unknown").code, "InvalidFilterKey");
}
