//! The interruption queue. Source: `A/pkg/providers/sqs/sqs.go`.

use crate::port::{CloudError, Message};
use crate::wire::Service;
use crate::wire::client::{Call, Client, lock};
use serde_json::{Value, json};
use std::sync::Mutex;

pub struct Queue {
    name: Option<String>,
    url: Mutex<Option<String>>,
}

impl Queue {
    pub fn new(name: Option<String>) -> Self {
        Queue { name: name.filter(|name| !name.is_empty()), url: Mutex::new(None) }
    }

    /// `None` when no queue is configured.
    async fn url(&self, client: &Client) -> Result<Option<String>, CloudError> {
        let Some(name) = &self.name else { return Ok(None) };
        if let Some(url) = lock(&self.url).clone() {
            return Ok(Some(url));
        }
        let reply = client.call(&Call::new(Service::Sqs, "GetQueueUrl", json!({"QueueName": name}))).await?.json();
        let url = reply.get("QueueUrl").and_then(Value::as_str).unwrap_or_default().to_owned();
        *lock(&self.url) = Some(url.clone());
        Ok(Some(url))
    }

    pub async fn receive(&self, client: &Client) -> Result<Vec<Message>, CloudError> {
        let Some(url) = self.url(client).await? else { return Ok(Vec::new()) };
        let parameters = json!({
            "AttributeNames": ["SentTimestamp"],
            "MaxNumberOfMessages": 10,
            "MessageAttributeNames": ["All"],
            "QueueUrl": url,
            "VisibilityTimeout": 20,
            "WaitTimeSeconds": 20,
        });
        let reply = client.call(&Call::new(Service::Sqs, "ReceiveMessage", parameters)).await?.json();
        let text = |message: &Value, name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let messages = reply.get("Messages").and_then(Value::as_array).into_iter().flatten();
        Ok(messages.map(|message| Message { body: text(message, "Body"), receipt: text(message, "ReceiptHandle") }).collect())
    }

    pub async fn delete(&self, client: &Client, receipt: &str) -> Result<(), CloudError> {
        let Some(url) = self.url(client).await? else { return Ok(()) };
        client.call(&Call::new(Service::Sqs, "DeleteMessage", json!({"QueueUrl": url, "ReceiptHandle": receipt}))).await.map(drop)
    }
}
