//! Launch templates in the account: found or made, kept for a minute, deleted when nobody used them.
//!
//! Source: `A/pkg/providers/launchtemplate/launchtemplate.go`.

use super::template::Template;
use crate::cache::Cache;
use crate::port::CloudError;
use crate::providers::filter;
use crate::telling::{Report, tell};
use crate::wire::client::{Call, Client};
use ambient::Clock;
use api::EC2NodeClass;
use jiff::SignedDuration;
use serde_json::json;
use tokio::sync::Mutex;
use vocabulary::labels;

/// `DefaultTTL`; every use starts it anew.
const KEPT: SignedDuration = SignedDuration::from_mins(1);

/// EC2's limit of user data, decoded, and where it comes near.
const USER_DATA_LIMIT: usize = 16_384;
const USER_DATA_WARNING: usize = USER_DATA_LIMIT * 9 / 10;

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
    pub async fn ensure(&self, client: &Client, class: &EC2NodeClass, templates: &[Template]) -> Result<(), CloudError> {
        let mut held = self.held.lock().await;
        for template in templates {
            let known = held.get(&template.name, self.clock.now()).cloned();
            let id = match known {
                Some(id) => id,
                None => find_or_make(client, class, template).await?,
            };
            held.set(template.name.clone(), id, self.clock.now());
        }
        Ok(())
    }

    /// The fleet says that these do not exist: the next launch looks again.
    pub async fn forget(&self, names: &[String]) {
        let mut held = self.held.lock().await;
        for name in names {
            if let Some(id) = held.remove(name) {
                let keys = [("launch-template-name", name.as_str().into()), ("launch-template-id", id.into())];
                tell(Report::debug("invalidating launch template in the cache because it no longer exists", keys));
            }
        }
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
        let count = held.live(self.clock.now()).count();
        let keys = [("tag-key", labels::TAG_CLUSTER_NAME.into()), ("tag-value", self.cluster.as_str().into()), ("count", count.into())];
        tell(Report::debug("hydrated launch template cache", keys).by(""));
        Ok(())
    }

    /// Deletes those that nobody used for a minute; how many.
    pub async fn expire(&self, client: &Client) -> Result<usize, CloudError> {
        let mut held = self.held.lock().await;
        let mut deleted = 0;
        for (name, id) in held.sweep(self.clock.now()) {
            match client.call(&Call::ec2("DeleteLaunchTemplate", json!({"LaunchTemplateId": id}))).await {
                Err(error) if !error.is_not_found() => {
                    let keys = [("launch-template", name.into()), ("error", error.to_string().into())];
                    tell(Report::error("failed to delete launch template", keys).by(""));
                }
                _ => {
                    tell(Report::debug("deleted launch template", [("id", id.into()), ("name", name.into())]).by(""));
                    deleted += 1;
                }
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
        let mut held = self.held.lock().await;
        names.iter().for_each(|name| drop(held.remove(name)));
        if !names.is_empty() {
            tell(Report::debug("deleted launch templates", [("launchTemplates", some(&names, 5).into())]));
        }
        tell(Report::UserData { class: class.to_owned(), bytes: None });
        failed.map_or(Ok(()), Err)
    }
}

/// The first `most` names and how many there are beside (`A/pkg/utils/utils.go`, PrettySlice).
fn some(names: &[String], most: usize) -> String {
    let shown = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most { format!("{shown} and {} other(s)", names.len() - most) } else { shown }
}

async fn find_or_make(client: &Client, class: &EC2NodeClass, template: &Template) -> Result<String, CloudError> {
    match client.call(&Call::ec2("DescribeLaunchTemplates", json!({"LaunchTemplateNames": [template.name]}))).await {
        Ok(reply) => {
            let root = reply.xml();
            let found: Vec<_> = root.list("launchTemplates").collect();
            match found[..] {
                [one] => {
                    tell(Report::debug("discovered launch template", [("launch-template-name", template.name.as_str().into())]));
                    Ok(one.string("launchTemplateId").unwrap_or_default())
                }
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
            let name = template.name.as_str();
            let bytes = template.user_data;
            tell(Report::UserData { class: class.metadata.name.clone().unwrap_or_default(), bytes: Some(bytes) });
            if bytes >= USER_DATA_WARNING {
                let keys = [
                    ("launch-template-name", name.into()),
                    ("userdata-bytes", bytes.into()),
                    ("warn-threshold", USER_DATA_WARNING.into()),
                    ("limit", USER_DATA_LIMIT.into()),
                ];
                tell(Report::info("rendered user data is approaching the EC2 user data size limit", keys));
            }
            let root = client.call(&Call::ec2("CreateLaunchTemplate", parameters)).await?.xml();
            let id = root.text_at(&["launchTemplate", "launchTemplateId"]).unwrap_or_default().to_owned();
            tell(Report::debug("created launch template", [("launch-template-name", name.into()), ("id", id.as_str().into())]));
            Ok(id)
        }
        Err(error) => Err(error),
    }
}
