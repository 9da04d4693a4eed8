//! Retries, pages and errors, on virtual time.

use super::account::{Account, REQUEST_LIMIT, types};
use super::*;
use crate::port::Validation;
use std::time::Duration;

fn gaps(calls: &[super::account::Seen]) -> Vec<Duration> {
    calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_are_tried_three_times_with_pauses() {
    let account = Account::new(Duration::from_millis(10));
    let cloud = cloud(&account);
    account.next("DescribeInstanceTypes", 503, REQUEST_LIMIT);
    account.next("DescribeInstanceTypes", 503, REQUEST_LIMIT);
    cloud.refresh_instance_types().await.unwrap();
    let calls = account.calls("DescribeInstanceTypes");
    assert_eq!(calls.len(), 3);
    let pauses = gaps(&calls);
    assert!(pauses[0] > Duration::from_millis(10) && pauses[0] <= Duration::from_millis(1_012), "{pauses:?}");
    assert!(pauses[1] > Duration::from_millis(10) && pauses[1] <= Duration::from_millis(2_012), "{pauses:?}");
    let id = |seen: &super::account::Seen| seen.bytes.lines().find(|line| line.starts_with("amz-sdk-invocation-id")).unwrap().to_owned();
    assert_eq!(id(&calls[0]), id(&calls[2]));
    assert!(calls[2].bytes.contains("amz-sdk-request: attempt=3; max=3"));

    for _ in 0..3 {
        account.next("DescribeInstanceTypes", 503, REQUEST_LIMIT);
    }
    let error = cloud.refresh_instance_types().await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status, error.operation.as_str()), ("RequestLimitExceeded", 503, "ec2:DescribeInstanceTypes"));
}

#[tokio::test(start_paused = true)]
async fn dry_runs_are_tried_once_and_asked_for_again_later() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let class = ready(&cloud).await;
    let mut other = class.clone();
    other.metadata.name = Some("other".to_owned());
    account.forget();
    account.next("CreateFleet", 503, REQUEST_LIMIT);
    assert!(matches!(cloud.validate(&other).await, Validation::Again(None)));
    assert_eq!(account.calls("CreateFleet").len(), 1);
    // Nothing of that was kept.
    assert_eq!(cloud.validate(&other).await, Validation::Passed);
    let unauthorized = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>";
    let mut third = class.clone();
    third.metadata.name = Some("third".to_owned());
    for _ in 0..4 {
        account.next("RunInstances", 403, unauthorized);
    }
    let expected = Validation::Failed {
        reason: "RunInstancesAuthCheckFailed".to_owned(),
        message: "Controller isn't authorized to call ec2:RunInstances: User is not authorized to perform this operation because no identity-based policy allows it".to_owned(),
    };
    assert_eq!(cloud.validate(&third).await, expected);
    account.forget();
    assert_eq!(cloud.validate(&third).await, expected);
    assert_eq!(account.seen().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn pages_are_followed_to_the_end() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    account.next("DescribeInstanceTypes", 200, format!("<R><instanceTypeSet>{}</instanceTypeSet><nextToken>more</nextToken></R>", types()));
    account.next("DescribeInstanceTypes", 200, "<R><instanceTypeSet/><nextToken>and-more</nextToken></R>");
    account.next("DescribeInstanceTypes", 200, "<R><instanceTypeSet/></R>");
    cloud.refresh_instance_types().await.unwrap();
    let calls = account.calls("DescribeInstanceTypes");
    let tokens: Vec<_> = calls.iter().map(|call| call.parameters.get("NextToken").map(String::as_str)).collect();
    assert_eq!(tokens, [None, Some("more"), Some("and-more")]);
    assert!(calls.iter().all(|call| call.parameters["MaxResults"] == "100"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_none_is_an_error() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    account.next("DescribeInstanceTypes", 200, "<html><body>Service");
    assert_eq!(cloud.refresh_instance_types().await.unwrap_err().code, "UnreadableReply");
    for _ in 0..3 {
        account.next("DescribeInstanceTypes", 502, "<html>Bad gateway</html>");
    }
    let error = cloud.refresh_instance_types().await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("Unknown", 502));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_came_before_is_told_again_and_a_changed_one_is_read() {
    let account = Account::new(Duration::ZERO);
    let cloud = cloud(&account);
    let page = |request: &str, id: &str, state: &str, more: &str| {
        format!(
            "<R><requestId>{request}</requestId><reservationSet><item><instancesSet><item><instanceId>{id}</instanceId>\
             <instanceState><name>{state}</name></instanceState></item></instancesSet></item></reservationSet><nextToken>{more}</nextToken></R>"
        )
    };
    let mut told = Vec::new();
    let rounds = [("running", "one"), ("running", "another"), ("shutting-down", "a-third")];
    for (state, request) in rounds {
        account.next("DescribeInstances", 200, page(request, "i-1", "running", "more"));
        account.next("DescribeInstances", 200, page(request, "i-2", state, ""));
        let listed = cloud.list().await.unwrap();
        told.push(listed.iter().map(|instance| format!("{} {}", instance.id, instance.state)).collect::<Vec<_>>());
    }
    assert_eq!(told, [["i-1 running", "i-2 running"], ["i-1 running", "i-2 running"], ["i-1 running", "i-2 shutting-down"]]);
    let tokens: Vec<_> = account.calls("DescribeInstances").iter().map(|call| call.parameters.get("NextToken").cloned()).collect();
    let more = Some("more".to_owned());
    assert_eq!(tokens, [None, more.clone(), None, more.clone(), None, more], "every page is asked for, read or not");
    account.next("DescribeInstances", 503, page("b", "i-1", "running", ""));
    account.next("DescribeInstances", 503, page("b", "i-1", "running", ""));
    account.next("DescribeInstances", 503, page("b", "i-1", "running", ""));
    assert_eq!(cloud.list().await.unwrap_err().status, 503, "an error is none of the pages before");
}
