use std::fs;
use std::path::Path;

use crate::local::{Binary, Error, find_binaries};

#[test]
fn the_option_wins_over_the_environment_and_that_over_the_cache() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| {
        let place = folder.path().join(name);
        fs::create_dir_all(&place).expect("a folder");
        fs::write(place.join("etcd"), "").expect("a file");
        place
    };
    let (option, variable, cache) = (place("option"), place("variable"), place("cache/judges/current"));
    let needed = [Binary::Etcd];
    let both = |name: &str| match name {
        "DRYFIT_CONTROL_PLANE" => Some(variable.display().to_string()),
        "DRYFIT_CACHE" => Some(folder.path().join("cache").display().to_string()),
        _ => None,
    };
    assert_eq!(find_binaries(Some(&option), both, &needed).expect("found"), option);
    assert_eq!(find_binaries(None, both, &needed).expect("found"), variable);
    let only_cache = |name: &str| both(name).filter(|_| name == "DRYFIT_CACHE");
    assert_eq!(find_binaries(None, only_cache, &needed).expect("found"), cache);
}

#[test]
fn a_missing_binary_is_named_with_the_remedy() {
    let error = find_binaries(Some(Path::new("/nonexistent")), |_| None, &Binary::CONTROL_PLANE).expect_err("nothing is there");
    assert!(matches!(&error, Error::BinariesMissing { missing, .. } if missing.len() == 4));
    let message = error.to_string();
    for part in ["/nonexistent", "kube-apiserver", "ci/judges/build", "--control-plane"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}
