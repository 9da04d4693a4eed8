//! SSM Parameter Store: the account's parameters and AWS's public ones.

use serde_json::{Value, json};

use super::input::{Out, Read, stamp};
use super::page;
use super::{Answer, errors};
use crate::protocol::{AwsError, Call};
use crate::state::World;
use crate::state::parameter::Parameter;

pub(super) fn handle(world: &mut World<'_>, call: &Call) -> Answer {
    match call.operation {
        "DeleteParameter" => {
            let name = call.input.text("Name").unwrap_or_default();
            let gone = world.region.parameters.remove(name);
            gone.map(|_| Out::new().done()).ok_or_else(|| errors::NO_PARAMETER.error(&[]))
        }
        "DescribeParameters" => describe(world, call),
        "GetParameter" => {
            let found = find(world, call.input.text("Name").unwrap_or_default());
            Ok(Out::new().with("Parameter", found.ok_or_else(|| errors::NO_PARAMETER.error(&[]))?).done())
        }
        "GetParameters" => get_several(world, call),
        "GetParametersByPath" => by_path(world, call),
        "PutParameter" => put(world, call),
        _ => Err(errors::unsupported(call)),
    }
}

/// When AWS last touched its own parameters: the day of the newest synthesised images.
const PUBLISHED: &str = "2026-09-18T17:43:09.000Z";

/// A parameter by its name, its ARN or its name with a version (`name:3`).
fn find(world: &World<'_>, asked: &str) -> Option<Value> {
    let name = asked.strip_prefix("arn:").and_then(|arn| arn.split_once(":parameter").map(|(_, name)| name)).unwrap_or(asked);
    if let Some(parameter) = world.region.parameters.get(name) {
        return Some(render(world, name, parameter));
    }
    if let Some((stem, version)) = name.rsplit_once(':')
        && let Some(parameter) = world.region.parameters.get(stem)
    {
        return (parameter.version.to_string() == version).then(|| render(world, stem, parameter));
    }
    world.region.public_parameters.get(name).map(|value| render_public(world, name, value))
}

fn render(world: &World<'_>, name: &str, parameter: &Parameter) -> Value {
    let slash = if name.starts_with('/') { "" } else { "/" };
    json!({
        "Name": name, "Type": parameter.kind, "Value": parameter.value, "Version": parameter.version,
        "LastModifiedDate": stamp(parameter.modified), "DataType": parameter.data_type,
        "ARN": world.account.arn("ssm", &world.region.name, &format!("parameter{slash}{name}")),
    })
}

fn render_public(world: &World<'_>, name: &str, value: &str) -> Value {
    let data_type = if value.starts_with("ami-") { "aws:ec2:image" } else { "text" };
    json!({
        "Name": name, "Type": "String", "Value": value, "Version": 1, "LastModifiedDate": PUBLISHED, "DataType": data_type,
        "ARN": format!("arn:aws:ssm:{}::parameter{name}", world.region.name),
    })
}

fn get_several(world: &mut World<'_>, call: &Call) -> Answer {
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    let mut names = call.input.texts("Names");
    if names.len() > 10 {
        return Err(detected(&format!("[{}]", names.join(", ")), "names", "Member must have length less than or equal to 10."));
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    for name in names {
        match find(world, name) {
            Some(parameter) => found.push(parameter),
            None => invalid.push(name),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

fn by_path(world: &mut World<'_>, call: &Call) -> Answer {
    let path = call.input.text("Path").unwrap_or_default().trim_end_matches('/');
    if !call.input.text("Path").unwrap_or_default().starts_with('/') {
        return Err(errors::SSM_VALIDATION.error(&[
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward slash \"/\".",
        ]));
    }
    let recursive = call.input.flag("Recursive");
    let below = |name: &str| {
        let rest = name.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'));
        rest.is_some_and(|rest| recursive || !rest.contains('/'))
    };
    let own = world.region.parameters.iter().filter(|(name, _)| below(name)).map(|(name, it)| (name.clone(), render(world, name, it)));
    let public = world.region.public_parameters.iter().filter(|(name, _)| below(name));
    let public = public.map(|(name, value)| (name.clone(), render_public(world, name, value)));
    let length = call.input.int("MaxResults").unwrap_or(10);
    if !(1..=10).contains(&length) {
        let message = format!(
            "1 validation error detected: Value '{length}' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 10"
        );
        return Err(errors::SSM_VALIDATION.error(&[&message]));
    }
    let rows = own.chain(public).collect();
    let length = usize::try_from(length).unwrap_or(10);
    let (parameters, token) = page::cut_by(call, length, call.input.text("NextToken"), &errors::SSM_TOKEN, rows)?;
    Ok(Out::new().with("Parameters", parameters).maybe("NextToken", token).done())
}

/// The account's own parameters; AWS's public ones are found by path alone. Source: API reference, DescribeParameters.
fn describe(world: &mut World<'_>, call: &Call) -> Answer {
    const KEYS: [&str; 8] = ["Name", "Type", "Path", "KeyId", "Label", "Tier", "DataType", "tag:"];
    let filters = call.input.list("ParameterFilters");
    if let Some(unknown) =
        filters.iter().filter_map(|filter| filter.text("Key")).find(|key| !KEYS.iter().any(|known| key.starts_with(known)))
    {
        return Err(errors::SSM_FILTER.error(&[unknown]));
    }
    let passes = |name: &str, held: &Parameter| filters.iter().all(|filter| passes(filter, name, held));
    let old = |name: &str, held: &Parameter| {
        call.input.list("Filters").iter().all(|filter| {
            let values = filter.texts("Values");
            match filter.text("Key") {
                Some("Name") => values.iter().any(|value| name.contains(value)),
                Some("Type") => values.contains(&held.kind.as_str()),
                _ => false,
            }
        })
    };
    let asked = world.region.parameters.iter().filter(|(name, held)| passes(name, held) && old(name, held));
    let shown = asked.map(|(name, held)| {
        let slash = if name.starts_with('/') { "" } else { "/" };
        let row = Out::new()
            .with("Name", name.clone())
            .with("ARN", world.account.arn("ssm", &world.region.name, &format!("parameter{slash}{name}")))
            .with("Type", held.kind.clone())
            .with("LastModifiedDate", stamp(held.modified))
            .with("LastModifiedUser", format!("arn:aws:iam::{}:root", world.account.id))
            .maybe("Description", held.description.clone())
            .with("Version", held.version)
            .with("Tier", "Standard")
            .with("Policies", json!([]))
            .with("DataType", held.data_type.clone());
        (name.clone(), row.done())
    });
    let length = call.input.int("MaxResults").unwrap_or(50);
    if !(1..=50).contains(&length) {
        let message = format!(
            "1 validation error detected: Value '{length}' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 50"
        );
        return Err(errors::SSM_VALIDATION.error(&[&message]));
    }
    let rows = shown.collect();
    let length = usize::try_from(length).unwrap_or(50);
    let (parameters, token) = page::cut_by(call, length, call.input.text("NextToken"), &errors::SSM_TOKEN, rows)?;
    Ok(Out::new().with("Parameters", parameters).maybe("NextToken", token).done())
}

fn passes(filter: &Value, name: &str, held: &Parameter) -> bool {
    let (key, option, values) = (filter.text("Key").unwrap_or_default(), filter.text("Option").unwrap_or("Equals"), filter.texts("Values"));
    let compare = |text: &str| match option {
        "BeginsWith" => values.iter().any(|value| text.starts_with(value)),
        "Contains" => values.iter().any(|value| text.contains(value)),
        _ => values.contains(&text),
    };
    match key {
        "Name" => compare(name),
        "Type" => compare(&held.kind),
        "DataType" => compare(&held.data_type),
        "Tier" => compare("Standard"),
        "Path" => values.iter().any(|path| {
            let rest = name.strip_prefix(path.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| option == "Recursive" || !rest.contains('/'))
        }),
        _ => match key.strip_prefix("tag:") {
            Some(tag) => held.tags.get(tag).is_some_and(|value| values.is_empty() || compare(value)),
            None => false,
        },
    }
}

/// A constraint of the model that a value does not satisfy.
fn detected(value: &str, member: &str, constraint: &str) -> AwsError {
    let message = format!("1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}");
    errors::SSM_VALIDATION.error(&[&message])
}

/// Names that begin with `aws` or `ssm` are AWS's own. Source: SSM user guide, "Parameter name requirements"; the words are observed.
fn good_name(name: &str) -> Result<(), AwsError> {
    let lower = name.trim_start_matches('/').to_ascii_lowercase();
    let path = name.starts_with('/');
    if path && lower.starts_with("aws") {
        // JSON 1.1 answers 400 where the XML protocols answer 403.
        return Err(errors::PARAMETER_RESERVED.error(&[name]).with_status(400));
    }
    if path && lower.starts_with("ssm") {
        return Err(errors::SSM_VALIDATION.error(&[
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist of sub-paths divided by slash \
             symbol; each sub-path can be formed as a mix of letters, numbers and the following 3 symbols .-_",
        ]));
    }
    if lower.starts_with("aws") || lower.starts_with("ssm") {
        return Err(errors::SSM_VALIDATION.error(&["Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive)."]));
    }
    Ok(())
}

fn put(world: &mut World<'_>, call: &Call) -> Answer {
    let name = call.input.text("Name").unwrap_or_default();
    good_name(name)?;
    let held = world.region.parameters.get(name);
    if held.is_some() && !call.input.flag("Overwrite") {
        return Err(errors::PARAMETER_EXISTS.error(&[]));
    }
    let kind = call.input.text("Type").map(str::to_owned).or_else(|| held.map(|held| held.kind.clone()));
    let kind = kind.ok_or_else(|| errors::SSM_VALIDATION.error(&["A parameter type is required when you create a parameter."]))?;
    let data_type = call.input.text("DataType").unwrap_or("text");
    let value = call.input.text("Value").unwrap_or_default();
    if value.is_empty() {
        return Err(detected("", "value", "Member must have length greater than or equal to 1."));
    }
    if !["String", "StringList", "SecureString"].contains(&kind.as_str()) {
        return Err(detected(&kind, "type", "Member must satisfy enum value set: [SecureString, StringList, String]"));
    }
    if !["text", "aws:ec2:image", "aws:ssm:integration"].contains(&data_type) {
        let message = format!("The following data type is not supported: {data_type} (Data type names are all lowercase.)");
        return Err(errors::SSM_VALIDATION.error(&[&message]));
    }
    if data_type == "aws:ec2:image" && !world.region.images.contains_key(value) {
        return Err(errors::PARAMETER_IMAGE.error(&[value]));
    }
    let version = held.map_or(1, |held| held.version + 1);
    let pair = |tag: &Value| Some((tag.text("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()));
    let parameter = Parameter {
        kind,
        value: value.to_owned(),
        version,
        description: call.input.text("Description").map(str::to_owned),
        data_type: data_type.to_owned(),
        modified: world.now,
        tags: call.input.list("Tags").iter().filter_map(pair).collect(),
    };
    world.region.parameters.insert(name.to_owned(), parameter);
    Ok(json!({"Version": version, "Tier": "Standard"}))
}
