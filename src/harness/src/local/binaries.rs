//! Where the judges' binaries are.

use std::path::{Path, PathBuf};

use super::Error;

/// The programs that `ci/judges/build` makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binary {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubectl,
    Karpenter,
}

impl Binary {
    /// What a control plane is made of.
    pub const CONTROL_PLANE: [Binary; 4] = [Binary::Etcd, Binary::ApiServer, Binary::ControllerManager, Binary::Scheduler];

    pub fn file_name(self) -> &'static str {
        match self {
            Binary::Etcd => "etcd",
            Binary::ApiServer => "kube-apiserver",
            Binary::ControllerManager => "kube-controller-manager",
            Binary::Scheduler => "kube-scheduler",
            Binary::Kubectl => "kubectl",
            Binary::Karpenter => "karpenter",
        }
    }
}

/// The folder that holds `needed`: `option` (`--control-plane DIR`), else `DRYFIT_CONTROL_PLANE`, else what `ci/judges/build` built
/// last (`judges/current` in `DRYFIT_CACHE`, by default `~/.cache/dryfit`). `environment` looks a variable up.
///
/// A folder that is named but lacks a binary is an error: another one is not taken in its place.
pub fn find_binaries(option: Option<&Path>, environment: impl Fn(&str) -> Option<String>, needed: &[Binary]) -> Result<PathBuf, Error> {
    let variable = |name| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = option.map(Path::to_path_buf).or_else(|| variable("DRYFIT_CONTROL_PLANE")).unwrap_or_else(|| {
        let cache = variable("DRYFIT_CACHE").or_else(|| variable("HOME").map(|home| home.join(".cache/dryfit")));
        cache.unwrap_or_else(|| PathBuf::from(".cache/dryfit")).join("judges/current")
    });
    let missing: Vec<String> =
        needed.iter().map(|binary| binary.file_name()).filter(|name| !folder.join(name).is_file()).map(str::to_owned).collect();
    if missing.is_empty() { Ok(folder) } else { Err(Error::BinariesMissing { looked: folder, missing }) }
}
