//! OIDC identity providers: whose tokens AssumeRoleWithWebIdentity takes.

use serde_json::json;

use super::{render_tags, tags};
use crate::protocol::Call;
use crate::services::input::{Out, Read, stamp};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::iam::Provider;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    let arn = call.input.text("OpenIDConnectProviderArn").unwrap_or_default();
    match call.operation {
        "CreateOpenIDConnectProvider" => create(world, call),
        "GetOpenIDConnectProvider" => {
            let provider = world.account.iam.providers.get(arn).ok_or_else(|| errors::NO_PROVIDER.error(&[arn]))?;
            Ok(json!({
                "Url": provider.url, "ClientIDList": provider.clients, "ThumbprintList": provider.thumbprints,
                "CreateDate": stamp(provider.created), "Tags": render_tags(&provider.tags),
            }))
        }
        "ListOpenIDConnectProviders" => {
            let list: Vec<_> = world.account.iam.providers.keys().map(|arn| json!({"Arn": arn})).collect();
            Ok(Out::new().with("OpenIDConnectProviderList", list).done())
        }
        "DeleteOpenIDConnectProvider" => {
            // Deleting what is not there is no error but for a wrong ARN. Source: IAM API reference.
            world.account.iam.providers.remove(arn).map(|_| Out::new().done()).ok_or_else(|| errors::NO_PROVIDER.error(&[arn]))
        }
        _ => Err(errors::unsupported(call)),
    }
}

fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let url = call.input.text("Url").and_then(|url| url.strip_prefix("https://")).map(|url| url.trim_end_matches('/'));
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| errors::PROVIDER_URL.error(&[]))?;
    let arn = world.account.arn("iam", "", &format!("oidc-provider/{url}"));
    if world.account.iam.providers.contains_key(&arn) {
        return Err(errors::PROVIDER_EXISTS.error(&[url]));
    }
    let texts = |member: &str| call.input.texts(member).into_iter().map(str::to_owned).collect();
    let provider = Provider {
        arn: arn.clone(),
        url: url.to_owned(),
        clients: texts("ClientIDList"),
        thumbprints: texts("ThumbprintList"),
        created: world.now,
        tags: tags(&call.input),
    };
    let shown = Out::new().with("OpenIDConnectProviderArn", arn.clone()).with("Tags", render_tags(&provider.tags));
    world.account.iam.providers.insert(arn, provider);
    Ok(shown.done())
}
