//! Calls a fresh `dryfit cloud` through AWS SDK for Rust, and prints one line per answer. The other clients take minutes and EC2's gigabytes to
//! compile; signed requests as this SDK makes them are compared byte for byte in `src/cloud`.

use aws_config::BehaviorVersion;
use std::error::Error;

const NAME: &str = "sdk-rust";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    // `AWS_ENDPOINT_URL`, region and credentials come from the environment.
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let who = aws_sdk_sts::Client::new(&config).get_caller_identity().send().await?;
    println!("sts account {}", who.account().unwrap_or_default());
    queues(&aws_sdk_sqs::Client::new(&config)).await
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
