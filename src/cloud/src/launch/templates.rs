//! Launch templates in the account: found or made, kept for a minute, deleted when nobody used them.
//!
//! Source: `A/pkg/providers/launchtemplate/launchtemplate.go`.

use super::template::Template;
use crate::cache::Cache;
use crate::port::CloudError;
use crate::providers::filter;
use crate::wire::client::{Call, Client};
use ambient::Clock;
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::Mutex;
use vocabulary::labels;

/// `DefaultTTL`; every use starts it anew.
const KEPT: SignedDuration = SignedDuration::from_mins(1);

pub struct Templates {
    clock: Clock,
    cluster: String,
    /// Ids by name. Held over the calls, so that one template is made once.
    held: Mutex<Cache<String, String>>,
}

impl Templates {
    pub fn new(clock: &Clock, cluster: &str) -> Self {
        Templates { clock: clock.clone(), cluster: cluster.to_owned(), held: Mutex::new(Cache::new(KEPT)) }
    }

    /// Finds or makes each template.
    pub async fn ensure(&self, client: &Client, templates: &[Template]) -> Result<(), CloudError> {
        let mut held = self.held.lock().await;
        for template in templates {
            let known = held.get(&template.name, self.clock.now()).cloned();
            let id = match known {
                Some(id) => id,
                None => find_or_make(client, template).await?,
            };
            held.set(template.name.clone(), id, self.clock.now());
        }
        Ok(())
    }

    /// The fleet says that these do not exist: the next launch looks again.
    pub async fn forget(&self, names: &[String]) {
        let mut held = self.held.lock().await;
        names.iter().for_each(|name| {
            held.remove(name);
        });
    }

    /// Takes over the templates that an earlier run left, so that they lapse like its own.
    pub async fn hydrate(&self, client: &Client) -> Result<(), CloudError> {
        let filters = [filter(&format!("tag:{}", labels::TAG_CLUSTER_NAME), &[&self.cluster])];
        let pages = client.ec2_pages("DescribeLaunchTemplates", json!({"Filters": filters, "MaxResults": 200})).await?;
        let mut held = self.held.lock().await;
        for item in pages.iter().flat_map(|page| page.list("launchTemplates")) {
            if let (Some(name), Some(id)) = (item.string("launchTemplateName"), item.string("launchTemplateId")) {
                held.set(name, id, self.clock.now());
            }
        }
        Ok(())
    }

    /// Deletes those that nobody used for a minute; how many.
    pub async fn expire(&self, client: &Client) -> Result<usize, CloudError> {
        let mut held = self.held.lock().await;
        let mut deleted = 0;
        for (name, id) in held.sweep(self.clock.now()) {
            match client.call(&Call::ec2("DeleteLaunchTemplate", json!({"LaunchTemplateId": id}))).await {
                Err(error) if !error.is_not_found() => {
                    tracing::error!(template = name, error = error.to_string(), "failed to delete launch template")
                }
                _ => deleted += 1,
            }
        }
        Ok(deleted)
    }

    /// Deletes every template of a NodeClass. The first error is told, after all were tried.
    pub async fn clean_up(&self, client: &Client, class: &str) -> Result<(), CloudError> {
        let filters = [
            filter(&format!("tag:{}", labels::TAG_CLUSTER_NAME), &[self.cluster.as_str()]),
            filter(&format!("tag:{}", labels::EC2NODECLASS), &[class]),
        ];
        let pages = client.ec2_pages("DescribeLaunchTemplates", json!({"Filters": filters, "MaxResults": 200})).await?;
        let names: Vec<String> =
            pages.iter().flat_map(|page| page.list("launchTemplates")).filter_map(|item| item.string("launchTemplateName")).collect();
        let mut failed = None;
        for name in &names {
            if let Err(error) = client.call(&Call::ec2("DeleteLaunchTemplate", json!({"LaunchTemplateName": name}))).await {
                failed.get_or_insert(error);
            }
        }
        self.forget(&names).await;
        failed.map_or(Ok(()), Err)
    }
}

async fn find_or_make(client: &Client, template: &Template) -> Result<String, CloudError> {
    match client.call(&Call::ec2("DescribeLaunchTemplates", json!({"LaunchTemplateNames": [template.name]}))).await {
        Ok(reply) => {
            let root = reply.xml();
            let found: Vec<_> = root.list("launchTemplates").collect();
            match found[..] {
                [one] => Ok(one.string("launchTemplateId").unwrap_or_default()),
                _ => Err(CloudError {
                    operation: "ec2:DescribeLaunchTemplates".to_owned(),
                    code: "UnexpectedCount".to_owned(),
                    message: format!("expected to find one launch template, found {}", found.len()),
                    status: 200,
                    request_id: root.string("requestId"),
                }),
            }
        }
        Err(error) if error.is_not_found() => {
            let mut parameters = template.request.clone();
            parameters["ClientToken"] = json!(client.id());
            let root = client.call(&Call::ec2("CreateLaunchTemplate", parameters)).await?.xml();
            Ok(root.text_at(&["launchTemplate", "launchTemplateId"]).unwrap_or_default().to_owned())
        }
        Err(error) => Err(error),
    }
}
