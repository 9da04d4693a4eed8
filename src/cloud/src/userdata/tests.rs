//! User data per family, whole.

use super::*;

fn bootstrap() -> Bootstrap {
    Bootstrap {
        cluster_name: "test-cluster".to_owned(),
        cluster_endpoint: "https://test-cluster".to_owned(),
        cluster_cidr: Some("10.100.0.0/16".to_owned()),
        cluster_ca: Some("Y2EtYnVuZGxlCg==".to_owned()),
        kubelet: KubeletConfiguration {
            cluster_dns: vec!["10.0.100.10".to_owned()],
            max_pods: Some(110),
            ..KubeletConfiguration::default()
        },
        taints: vec![NodeTaint { key: "karpenter.sh/unregistered".to_owned(), value: String::new(), effect: "NoExecute".to_owned() }],
        labels: [("karpenter.sh/capacity-type", "on-demand"), ("testing/cluster", "unspecified")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        custom: None,
        striped_disks: false,
        image_version: String::new(),
    }
}

const OURS: &str = "Content-Type: application/node.eks.aws

# Karpenter Generated NodeConfig
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
metadata: {}
spec:
  cluster:
    apiServerEndpoint: https://test-cluster
    certificateAuthority: Y2EtYnVuZGxlCg==
    cidr: 10.100.0.0/16
    name: test-cluster
  containerd: {}
  instance:
    localStorage: {}
  kubelet:
    config:
      clusterDNS:
      - 10.0.100.10
      maxPods: 110
      registerWithTaints:
      - effect: NoExecute
        key: karpenter.sh/unregistered
    flags:
    - --node-labels=\"karpenter.sh/capacity-type=on-demand,testing/cluster=unspecified\"

--//--
";

const HEAD: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\n";

#[test]
fn al2023_writes_a_node_config() {
    assert_eq!(bootstrap().render(Family::Al2023).unwrap(), format!("{HEAD}{OURS}"));
}

#[test]
fn al2023_puts_custom_parts_first_by_what_they_are() {
    let custom = |text: &str| Bootstrap { custom: Some(text.to_owned()), ..bootstrap() }.render(Family::Al2023).unwrap();
    let script = "#!/bin/bash\necho \"Hello, AL2023!\"\n";
    let shell = format!("{HEAD}Content-Type: text/x-shellscript; charset=\"us-ascii\"\n\n{script}\n--//\n{OURS}");
    assert_eq!(custom(script), shell);
    let config = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\n";
    assert_eq!(custom(config), format!("{HEAD}Content-Type: application/node.eks.aws\n\n{config}\n--//\n{OURS}"));
    let archive = format!("{HEAD}Content-Type: text/x-shellscript; charset=\"us-ascii\"\n\n{script}\n--//\n");
    assert_eq!(custom(&archive), shell);
}

#[test]
fn al2023_waits_for_the_cluster_cidr() {
    let waiting = Bootstrap { cluster_cidr: None, ..bootstrap() };
    assert_eq!(waiting.render(Family::Al2023), Err(UserDataError::NoClusterCidr));
}

#[test]
fn al2_calls_the_bootstrap_script() {
    let text = bootstrap().render(Family::Al2).unwrap();
    let expected = r#"Content-Type: text/x-shellscript; charset="us-ascii"

#!/bin/bash -xe
exec > >(tee /var/log/user-data.log|logger -t user-data -s 2>/dev/console) 2>&1
/etc/eks/bootstrap.sh 'test-cluster' --apiserver-endpoint 'https://test-cluster' --b64-cluster-ca 'Y2EtYnVuZGxlCg==' \
--dns-cluster-ip '10.0.100.10' \
--use-max-pods false \
--kubelet-extra-args '--node-labels="karpenter.sh/capacity-type=on-demand,testing/cluster=unspecified" --register-with-taints="karpenter.sh/unregistered:NoExecute" --max-pods=110'
--//--
"#;
    assert_eq!(text, format!("{HEAD}{expected}"));
}

#[test]
fn bottlerocket_overwrites_its_own_settings_and_keeps_the_rest() {
    let custom = "[settings.kubernetes]\nunknown = 1\ncloud-provider = 'external'\nmax-pods = 9\n[settings.kubernetes.node-labels]\nmine = 'x'\n\
                  [settings.ntp]\ntime-servers = ['169.254.169.123']\n";
    let rendered = Bootstrap { custom: Some(custom.to_owned()), striped_disks: true, image_version: "v1.46.0".to_owned(), ..bootstrap() };
    let table: toml::Table = toml::from_str(&rendered.render(Family::Bottlerocket).unwrap()).unwrap();
    let expected: toml::Table = toml::from_str(
        "[settings.kubernetes]\napi-server = 'https://test-cluster'\ncloud-provider = 'external'\ncluster-certificate = 'Y2EtYnVuZGxlCg=='\n\
         cluster-name = 'test-cluster'\ncluster-dns-ip = '10.0.100.10'\nmax-pods = 110\n\
         [settings.kubernetes.node-labels]\nmine = 'x'\n'karpenter.sh/capacity-type' = 'on-demand'\n'testing/cluster' = 'unspecified'\n\
         [settings.kubernetes.node-taints]\n'karpenter.sh/unregistered' = [':NoExecute']\n\
         [settings.bootstrap-commands.000-mount-instance-storage]\nessential = true\nmode = 'always'\n\
         commands = [['apiclient', 'ephemeral-storage', 'init'], ['apiclient', 'ephemeral-storage', 'bind']]\n\
         [settings.ntp]\ntime-servers = ['169.254.169.123']\n",
    )
    .unwrap();
    assert_eq!(table, expected);
}

#[test]
fn custom_images_get_the_users_data_alone() {
    let custom = Bootstrap { custom: Some("anything".to_owned()), ..bootstrap() };
    assert_eq!(custom.render(Family::Custom).unwrap(), "anything");
    assert_eq!(bootstrap().render(Family::Custom).unwrap(), "");
}
