//! Amazon Linux 2: a shell script that calls `/etc/eks/bootstrap.sh`.
//!
//! Source: awslabs/amazon-eks-ami (v20240129) `files/bootstrap.sh`. The script is not executed: the call is looked for and read.

use super::{Bootstrap, Refusal, flags, mime};

const PROGRAM: &str = "/etc/eks/bootstrap.sh";

/// What the kubelet does without `--max-pods`, when the script does not set it from the interfaces either.
const KUBELET_MAX_PODS: u32 = 110;

pub fn read(text: &str) -> Result<Bootstrap, Refusal> {
    let scripts: Vec<String> = match mime::parts(text).map_err(Refusal::BootstrapScript)? {
        Some(parts) => parts.into_iter().filter(|part| part.media_type == "text/x-shellscript").map(|part| part.body).collect(),
        None => vec![text.to_owned()],
    };
    let joined: Vec<String> = scripts.iter().map(|script| script.replace("\\\r\n", " ").replace("\\\n", " ")).collect();
    // A later call overwrites the configuration that an earlier one wrote.
    let mut calls = joined.iter().flat_map(|script| script.lines()).map(str::trim).filter(|line| !line.starts_with('#'));
    let call = calls.rfind(|line| line.split_whitespace().any(|word| word == PROGRAM));
    let call = call.ok_or_else(|| Refusal::BootstrapScript(format!("user data does not call {PROGRAM}")))?;
    let words = flags::words(call).map_err(Refusal::BootstrapScript)?;
    arguments(words.into_iter().skip_while(|word| word != PROGRAM).skip(1))
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Bootstrap, Refusal> {
    let mut bootstrap = Bootstrap::default();
    let (mut extra, mut by_interfaces) = (String::new(), true);
    while let Some(word) = words.next() {
        match word.as_str() {
            // The script takes a value as the next word only.
            "--apiserver-endpoint" => bootstrap.endpoint = words.next().unwrap_or_default(),
            "--kubelet-extra-args" => extra = words.next().unwrap_or_default(),
            "--use-max-pods" => by_interfaces = words.next().as_deref() == Some("true"),
            "--local-disks" => bootstrap.local_disks = words.next().as_deref() == Some("raid0"),
            "--b64-cluster-ca"
            | "--dns-cluster-ip"
            | "--ip-family"
            | "--container-runtime"
            | "--service-ipv4-cidr"
            | "--service-ipv6-cidr"
            | "--cluster-id"
            | "--pause-container-account"
            | "--pause-container-version"
            | "--containerd-config-file"
            | "--aws-api-retry-attempts"
            | "--enable-docker-bridge"
            | "--docker-config-json"
            | "--enable-local-outpost"
            | "--mount-bpf-fs" => drop(words.next()),
            flag if flag.starts_with('-') => return Err(Refusal::BootstrapScript(format!("bootstrap.sh: Unknown flag {flag}"))),
            // Whatever the shell does with the rest of the line is not for the program.
            ";" | "&&" | "||" | "|" => break,
            _ => bootstrap.cluster = word,
        }
    }
    if bootstrap.cluster.is_empty() {
        return Err(Refusal::BootstrapScript("bootstrap.sh: CLUSTER_NAME is not defined".to_owned()));
    }
    flags::kubelet(&mut bootstrap, &flags::words(&extra).map_err(Refusal::Kubelet)?)?;
    if !by_interfaces {
        bootstrap.max_pods.get_or_insert(KUBELET_MAX_PODS);
    }
    Ok(bootstrap)
}
