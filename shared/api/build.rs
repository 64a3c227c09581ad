//! Lists the product's own crates that log, for the filter of the log levels. A name in the filter matches all
//! targets that begin with it, so crates that log nothing are left out: `aws` would match the whole SDK.

use std::{env, fs, path::Path};

fn main() {
    let shared = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("..");
    let mut names = vec!["groundswell".to_owned()];
    for folder in [shared.clone(), shared.join("families"), shared.join("../functions")] {
        println!("cargo::rerun-if-changed={}", folder.display());
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let crates = entries.filter(|entry| {
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
            manifest.contains("\ntracing.workspace")
        });
        names.extend(crates.map(|found| found.file_name().to_string_lossy().replace('-', "_")));
    }
    names.sort();
    println!("cargo::rustc-env=OWN_CRATES={}", names.join(","));
}
