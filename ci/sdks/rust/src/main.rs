//! Calls a fresh `dryfit cloud` through AWS SDK for Rust, and prints one line per answer. EC2's and SSM's clients take minutes and gigabytes to
//! compile; what they send is compared byte for byte in `src/cloud`.

use aws_config::BehaviorVersion;
use aws_sdk_pricing::types::{Filter, FilterType};
use std::error::Error;

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
const NAME: &str = "sdk-rust";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    // `AWS_ENDPOINT_URL`, region and credentials come from the environment.
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let who = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await?;
    println!("sts account {}", who.account().unwrap_or_default());
    people(&aws_sdk_iam::Client::new(&config)).await?;
    queues(&aws_sdk_sqs::Client::new(&config)).await?;
    clusters(&aws_sdk_eks::Client::new(&config)).await?;
    prices(&aws_sdk_pricing::Client::new(&config)).await
}

async fn people(iam: &aws_sdk_iam::Client) -> Result<(), Box<dyn Error>> {
    iam.create_role().role_name(NAME).path("/sdk/").assume_role_policy_document(TRUST).send().await?;
    let role = iam.get_role().role_name(NAME).send().await?;
    println!("iam role {}", role.role().map(|role| role.path()).unwrap_or_default());
    iam.delete_role().role_name(NAME).send().await?;
    let gone = iam.get_role().role_name(NAME).send().await.expect_err("it was deleted").into_service_error();
    assert!(gone.is_no_such_entity_exception(), "{gone}");
    println!("iam fault NoSuchEntity typed");
    Ok(())
}

async fn queues(sqs: &aws_sdk_sqs::Client) -> Result<(), Box<dyn Error>> {
    let made = sqs.create_queue().queue_name(NAME).send().await?;
    let url = made.queue_url().unwrap_or_default();
    sqs.send_message().queue_url(url).message_body("<one> & \"two\"").send().await?;
    let got = sqs.receive_message().queue_url(url).wait_time_seconds(1).send().await?;
    let message = got.messages().first().ok_or("no message came")?;
    println!("sqs body {}", message.body().unwrap_or_default());
    sqs.delete_message().queue_url(url).receipt_handle(message.receipt_handle().unwrap_or_default()).send().await?;
    sqs.delete_queue().queue_url(url).send().await?;
    let gone = sqs.get_queue_url().queue_name("none").send().await.expect_err("there is none").into_service_error();
    assert!(gone.is_queue_does_not_exist(), "{gone}");
    println!("sqs fault QueueDoesNotExist typed");
    Ok(())
}

async fn clusters(eks: &aws_sdk_eks::Client) -> Result<(), Box<dyn Error>> {
    println!("eks clusters {}", eks.list_clusters().send().await?.clusters().len());
    let gone = eks.describe_cluster().name("none").send().await.expect_err("there is none").into_service_error();
    assert!(gone.is_resource_not_found_exception(), "{gone}");
    println!("eks fault ResourceNotFound typed {}", gone.meta().message().unwrap_or_default());
    Ok(())
}

async fn prices(pricing: &aws_sdk_pricing::Client) -> Result<(), Box<dyn Error>> {
    let wanted = [
        ("regionCode", "us-east-1"),
        ("instanceType", "m5.large"),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
    ];
    let mut ask = pricing.get_products().service_code("AmazonEC2");
    for (field, value) in wanted {
        ask = ask.filters(Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build()?);
    }
    let answer = ask.send().await?;
    let product: serde_json::Value = serde_json::from_str(answer.price_list().first().ok_or("no product came")?)?;
    for offer in product["terms"]["OnDemand"].as_object().into_iter().flat_map(|offers| offers.values()) {
        for dimension in offer["priceDimensions"].as_object().into_iter().flat_map(|dimensions| dimensions.values()) {
            println!("pricing m5.large {}", dimension["pricePerUnit"]["USD"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}
