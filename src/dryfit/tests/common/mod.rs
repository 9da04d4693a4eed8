//! Runs the program as a user does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

pub fn lab() -> PathBuf {
    root().join("scenarios/workshops/eks-workshop")
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Both streams, for messages.
    pub fn all(&self) -> String {
        format!("exit {}\n{}\n{}", self.code, self.out, self.err)
    }

    pub fn says(&self, words: &str) -> &Self {
        // Explanations and mistakes are wrapped, mistakes behind a bar; what counts are the words.
        let flat = |text: &str| text.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat(&self.all()).contains(&flat(words)), "{words:?} is missing in\n{}", self.all());
        self
    }

    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }
}

pub fn dryfit<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ran {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_dryfit")).args(arguments).env_remove("DRYFIT_CHILD").output().expect("the program runs");
    Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// A copy of the lab with changes: `(file, from, to)`.
#[allow(dead_code, reason = "not every test file changes the lab")]
pub fn changed(changes: &[(&str, &str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["lab.yaml", "nodepool.yaml", "nodeclass.yaml", "inflate.yaml"] {
        let mut text = std::fs::read_to_string(lab().join(file)).expect("the lab");
        for (_, from, to) in changes.iter().filter(|(name, ..)| *name == file) {
            assert!(text.contains(from), "{from:?} is not in {file}");
            text = text.replacen(from, to, 1);
        }
        std::fs::write(folder.path().join(file), text).expect("a copy");
    }
    folder
}

#[allow(dead_code, reason = "not every test file changes the lab")]
pub fn run_changed(changes: &[(&str, &str, &str)]) -> Ran {
    let folder = changed(changes);
    dryfit(&["test".as_ref(), folder.path().join("lab.yaml").as_os_str()])
}
