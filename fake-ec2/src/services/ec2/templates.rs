//! Launch templates and their versions.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::tags;
use crate::protocol::{AwsError, Call};
use crate::services::filter::{Filters, Table};
use crate::services::input::{Members, Out, Read, stamp};
use crate::services::page::{self, Pages};
use crate::services::{Answer, errors};
use crate::state::World;
use crate::state::template::{LaunchTemplate, TemplateVersion};

/// Most bytes of user data before it is encoded. Source: EC2 user guide, "Run commands when you launch an EC2 instance with user data input".
const USER_DATA_LIMIT: usize = 16_384;

/// Checks user data as it was sent, base64.
pub(in crate::services) fn check_user_data(data: Option<&str>) -> Result<(), AwsError> {
    let Some(data) = data else { return Ok(()) };
    let compact: String = data.chars().filter(|letter| !letter.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(compact).map_err(|_| errors::USER_DATA_BASE64.error(&[]))?;
    if bytes.len() > USER_DATA_LIMIT { Err(errors::USER_DATA_SIZE.error(&[])) } else { Ok(()) }
}

fn render(template: &LaunchTemplate) -> Value {
    Out::new()
        .with("LaunchTemplateId", template.id.clone())
        .with("LaunchTemplateName", template.name.clone())
        .with("CreateTime", stamp(template.created))
        .with("CreatedBy", template.created_by.clone())
        .with("DefaultVersionNumber", template.default_version)
        .with("LatestVersionNumber", template.latest())
        .with("Tags", tags::render(&template.tags))
        .done()
}

fn render_version(template: &LaunchTemplate, number: u64, version: &TemplateVersion) -> Value {
    Out::new()
        .with("LaunchTemplateId", template.id.clone())
        .with("LaunchTemplateName", template.name.clone())
        .with("VersionNumber", number)
        .maybe("VersionDescription", version.description.clone())
        .with("CreateTime", stamp(version.created))
        .with("CreatedBy", template.created_by.clone())
        .with("DefaultVersion", number == template.default_version)
        .with("LaunchTemplateData", version.data.clone())
        .done()
}

pub(in crate::services) fn create(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.need("LaunchTemplateName")?;
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "().-/_".contains(letter);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(errors::TEMPLATE_NAME_MALFORMED.error(&[]));
    }
    let data = data(call)?;
    if world.region.templates.contains_key(name) {
        return Err(errors::TEMPLATE_EXISTS.error(&[]));
    }
    let tags = tags::for_resource(&call.input, "launch-template")?;
    super::dry_run(call)?;
    let description = call.input.text("VersionDescription").map(str::to_owned);
    let template = LaunchTemplate {
        id: world.account.entropy.id("lt"),
        name: name.to_owned(),
        created: world.now,
        created_by: call.caller.principal.clone(),
        tags,
        found: world.account.found_from(world.now, world.account.settings.consistency.launch_templates),
        default_version: 1,
        versions: BTreeMap::from([(1, TemplateVersion { description, created: world.now, data })]),
    };
    let shown = render(&template);
    world.region.templates.insert(template.name.clone(), template);
    Ok(Out::new().with("LaunchTemplate", shown).done())
}

fn data(call: &Call) -> Result<Members, AwsError> {
    let data = call.input.part("LaunchTemplateData").ok_or_else(|| errors::MISSING.error(&["LaunchTemplateData"]))?;
    check_user_data(data.text("UserData"))?;
    tags::by_resource(data)?;
    Ok(data.clone())
}

/// A further version; what the source version says and the request does not stays.
pub(in crate::services) fn create_version(world: &mut World<'_>, call: &Call) -> Answer {
    let mut data = data(call)?;
    let key = named(world, &call.input)?.name.clone();
    let now = world.now;
    super::dry_run(call)?;
    let template = world.region.templates.get_mut(&key).ok_or_else(|| errors::TEMPLATE_NAME_NOT_FOUND.error(&[]))?;
    if let Some(source) = call.input.text("SourceVersion") {
        let number = version(template, Some(source))?;
        let mut whole = template.versions.get(&number).map(|version| version.data.clone()).unwrap_or_default();
        whole.extend(data);
        data = whole;
    }
    let number = template.latest() + 1;
    let description = call.input.text("VersionDescription").map(str::to_owned);
    template.versions.insert(number, TemplateVersion { description, created: now, data });
    let shown = template.versions.get(&number).map(|version| render_version(template, number, version));
    Ok(Out::new().maybe("LaunchTemplateVersion", shown).done())
}

/// Makes another version the default.
pub(in crate::services) fn modify(world: &mut World<'_>, call: &Call) -> Answer {
    let template = named(world, &call.input)?;
    let (key, number) = (template.name.clone(), version(template, call.input.text("DefaultVersion"))?);
    super::dry_run(call)?;
    let template = world.region.templates.get_mut(&key).ok_or_else(|| errors::TEMPLATE_NAME_NOT_FOUND.error(&[]))?;
    template.default_version = number;
    Ok(Out::new().with("LaunchTemplate", render(template)).done())
}

pub(in crate::services) fn delete(world: &mut World<'_>, call: &Call) -> Answer {
    let key = named(world, &call.input)?.name.clone();
    super::dry_run(call)?;
    let shown = world.region.templates.remove(&key).map(|template| render(&template));
    Ok(Out::new().maybe("LaunchTemplate", shown).done())
}

/// The template that a structure names by `LaunchTemplateName` or `LaunchTemplateId`.
pub(in crate::services) fn named<'a>(world: &'a World<'_>, input: &Members) -> Result<&'a LaunchTemplate, AwsError> {
    if let Some(id) = input.text("LaunchTemplateId") {
        let found = world.region.templates.values().find(|template| template.id == id && template.found <= world.now);
        return found.ok_or_else(|| errors::TEMPLATE_ID_NOT_FOUND.error(&[id]));
    }
    let name = input.text("LaunchTemplateName").ok_or_else(|| errors::MISSING.error(&["LaunchTemplateName"]))?;
    let found = world.region.templates.get(name).filter(|template| template.found <= world.now);
    found.ok_or_else(|| errors::TEMPLATE_NAME_NOT_FOUND.error(&[]))
}

/// The number that a version stands for.
pub(in crate::services) fn version(template: &LaunchTemplate, asked: Option<&str>) -> Result<u64, AwsError> {
    let unknown = || errors::TEMPLATE_VERSION_NOT_FOUND.error(&[asked.unwrap_or_default(), &template.id]);
    template.resolve(asked).ok_or_else(unknown)
}

const FILTERS: Table = &[("create-time", "CreateTime"), ("launch-template-name", "LaunchTemplateName")];

pub(in crate::services) fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, FILTERS)?;
    let (ids, names) = (call.input.texts("LaunchTemplateIds"), call.input.texts("LaunchTemplateNames"));
    let templates = &world.region.templates;
    if let Some(unknown) = ids.iter().find(|id| !templates.values().any(|template| template.id == **id)) {
        return Err(errors::TEMPLATE_ID_NOT_FOUND.error(&[unknown]));
    }
    if names.iter().any(|name| !templates.contains_key(*name)) {
        return Err(errors::TEMPLATE_NAME_NOT_FOUND.error(&[]));
    }
    let asked = templates.values().filter(|template| {
        (ids.is_empty() && names.is_empty()) || ids.contains(&template.id.as_str()) || names.contains(&template.name.as_str())
    });
    let asked = asked.filter(|template| filters.pass_tags(&template.tags));
    let rows = asked.map(|template| (template.id.clone(), render(template))).filter(|(_, row)| filters.pass(row)).collect();
    let (templates, token) = page::cut(call, Pages::capped(1, 200).by_default(200), rows)?;
    Ok(Out::new().with("LaunchTemplates", templates).maybe("NextToken", token).done())
}

const VERSION_FILTERS: Table = &[
    ("create-time", "CreateTime"),
    ("ebs-optimized", "LaunchTemplateData.EbsOptimized"),
    ("http-endpoint", "LaunchTemplateData.MetadataOptions.HttpEndpoint"),
    ("http-protocol-ipv4", ""),
    ("http-protocol-ipv6", "LaunchTemplateData.MetadataOptions.HttpProtocolIpv6"),
    ("http-tokens", "LaunchTemplateData.MetadataOptions.HttpTokens"),
    ("host-resource-group-arn", "LaunchTemplateData.Placement.HostResourceGroupArn"),
    ("iam-instance-profile", "LaunchTemplateData.IamInstanceProfile.Arn"),
    ("image-id", "LaunchTemplateData.ImageId"),
    ("instance-type", "LaunchTemplateData.InstanceType"),
    ("is-default-version", "DefaultVersion"),
    ("kernel-id", "LaunchTemplateData.KernelId"),
    ("license-configuration-arn", "LaunchTemplateData.LicenseSpecifications.LicenseConfigurationArn"),
    ("network-card-index", "LaunchTemplateData.NetworkInterfaces.NetworkCardIndex"),
    ("ram-disk-id", "LaunchTemplateData.RamDiskId"),
];

pub(in crate::services) fn describe_versions(world: &mut World<'_>, call: &Call) -> Answer {
    let filters = Filters::read(&call.input, VERSION_FILTERS)?;
    let asked = call.input.texts("Versions");
    let named = call.input.text("LaunchTemplateId").is_some() || call.input.text("LaunchTemplateName").is_some();
    // Without a template, `$Latest` or `$Default` asks for that version of every template.
    let templates: Vec<&LaunchTemplate> = if named {
        vec![self::named(world, &call.input)?]
    } else if !asked.is_empty() && asked.iter().all(|asked| asked.starts_with('$')) {
        world.region.templates.values().collect()
    } else {
        return Err(errors::MISSING.error(&["LaunchTemplateId or LaunchTemplateName"]));
    };
    let bound = |member: &str| call.input.text(member).and_then(|text| text.parse::<u64>().ok());
    let (least, most) = (bound("MinVersion").unwrap_or(0), bound("MaxVersion").unwrap_or(u64::MAX));
    let mut rows = Vec::new();
    for template in templates {
        let numbers = asked.iter().map(|asked| version(template, Some(asked))).collect::<Result<Vec<u64>, AwsError>>()?;
        for (number, version) in template.versions.range(least..=most.max(least)) {
            let row = render_version(template, *number, version);
            if (numbers.is_empty() || numbers.contains(number)) && filters.pass(&row) {
                // The newest come first.
                rows.push((format!("{}{:020}", template.id, u64::MAX - number), row));
            }
        }
    }
    let (versions, token) = page::cut(call, Pages::capped(1, 200).by_default(200), rows)?;
    Ok(Out::new().with("LaunchTemplateVersions", versions).maybe("NextToken", token).done())
}
